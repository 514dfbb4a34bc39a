//! `countersign audit export`

use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::Path,
};

use countersign_proto::v1::{ExportAuditRequest, ExportAuditResponse};
use serde_json::json;

use super::{
    super::{arguments::AdminArgs, failure::Failure, output::Output, remote, tenant::incomplete},
    line::{HeaderLine, Line},
};

pub(super) async fn run(
    admin: &AdminArgs,
    tenant_id: String,
    output: Option<&Path>,
    out: &Output,
) -> Result<(), Failure> {
    let mut client = remote::admin(admin).await?;
    let request = ExportAuditRequest { tenant_id };
    let mut answers = client.export_audit(request).await?.into_inner();
    let mut to = match output {
        None => None,
        Some(path) => Some(BufWriter::new(create(path)?)),
    };
    let mut lines = 0_u64;
    let mut sealed = false;
    while let Some(answer) = answers.message().await? {
        let text = lines_of(answer)?;
        for line in &text {
            sealed = line.contains(r#"{"type":"seal""#);
            lines = lines.saturating_add(1);
            match &mut to {
                None => out.raw(line.as_bytes())?,
                Some(file) => file.write_all(line.as_bytes())?,
            }
        }
    }
    if !sealed {
        return Err(incomplete());
    }
    if let (Some(mut file), Some(path)) = (to, output) {
        file.flush()?;
        let value = json!({ "file": path.display().to_string(), "lines": lines });
        out.show(&value, || {
            format!("Wrote {lines} lines to {}", path.display())
        })?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<std::fs::File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// One answer as lines of the file.
pub(super) fn lines_of(answer: ExportAuditResponse) -> Result<Vec<String>, Failure> {
    let header = answer
        .header
        .map(|header| HeaderLine::new(header).map(Line::Header));
    let lines = answer
        .lines
        .into_iter()
        .map(|line| line.line.and_then(Line::new));
    header
        .into_iter()
        .chain(lines)
        .map(|line| {
            let line = line.ok_or_else(incomplete)?;
            serde_json::to_string(&line)
                .map(|text| text + "\n")
                .map_err(|error| Failure::failed(format!("cannot write a line: {error}")))
        })
        .collect()
}
