//! `countersign device import`

mod batch;
mod line;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use countersign_proto::v1::{
    ImportDevicesRequest, ImportDevicesResponse, admin_service_client::AdminServiceClient,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{failure::Failure, output::Output, remote::Connection};
use batch::{Batch, Batches};

type Client = AdminServiceClient<Connection>;

/// Requests under way at a time: the broker looks at the keys of one while another
/// goes to disk.
const IN_FLIGHT: usize = 4;
/// How often a request is sent again that the broker is too busy for.
const TRIES: usize = 8;
/// Devices between two lines of progress, where standard error is no terminal.
const STEP: u64 = 50_000;

/// What became of the devices so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    imported: u64,
    present: u64,
    /// Line, id and user of those that stay removed.
    removed: Vec<(u64, String, String)>,
}

impl Tally {
    fn done(&self) -> u64 {
        self.imported + self.present + self.removed.len() as u64
    }

    fn add(&mut self, other: Self) {
        self.imported += other.imported;
        self.present += other.present;
        self.removed.extend(other.removed);
    }

    fn of(batch: &Batch, answer: &ImportDevicesResponse) -> Self {
        let places = batch.lines.iter().zip(&batch.devices);
        let places = places.zip(&answer.device_ids);
        Self {
            imported: answer.imported.into(),
            present: answer.already_present.into(),
            removed: places
                .filter(|(_, id)| answer.removed_device_ids.contains(id))
                .map(|((line, device), id)| (*line, id.clone(), device.user_id.clone()))
                .collect(),
        }
    }

    fn to_json(&self) -> Value {
        let removed = self.removed.iter();
        let removed: Vec<_> = removed
            .map(|(line, id, user)| json!({"line": line, "device_id": id, "user_id": user}))
            .collect();
        json!({
            "imported": self.imported, "already_present": self.present, "removed_before": removed,
        })
    }

    fn sentences(&self) -> String {
        let mut text = format!(
            "Imported {} devices; {} were there already",
            self.imported, self.present
        );
        if !self.removed.is_empty() {
            text.push_str(
                "\nRemoved since an earlier import, and left so (a ticket brings them back):",
            );
        }
        for (line, id, user) in &self.removed {
            text.push_str(&format!("\n  line {line}: {id} of {user}"));
        }
        text
    }
}

/// Tells how far it is, on standard error.
struct Progress {
    is_terminal: bool,
    told: u64,
}

impl Progress {
    fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            told: 0,
        }
    }

    fn tell(&mut self, done: u64) {
        if self.is_terminal {
            // Nobody to tell is no reason to stop.
            drop(write!(io::stderr(), "\r{done} devices"));
        } else if done / STEP > self.told / STEP {
            drop(writeln!(io::stderr(), "{done} devices"));
        }
        self.told = done;
    }

    fn end(&self) {
        if self.is_terminal && self.told > 0 {
            drop(writeln!(io::stderr()));
        }
    }
}

pub(super) async fn run(
    client: Client,
    tenant_id: String,
    file: &Path,
    out: &Output,
) -> Result<(), Failure> {
    let name = file.display().to_string();
    let from: Box<dyn BufRead> = if name == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = File::open(file)
            .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
        Box::new(BufReader::new(opened))
    };
    let mut tally = Tally::default();
    let mut progress = Progress::new();
    let done = import(Batches::new(from, &name), &client, &tenant_id, |some| {
        tally.add(some);
        progress.tell(tally.done());
    })
    .await;
    progress.end();
    if let Err(failure) = done {
        return Err(failure.after(&format!(
            "{} devices of the file are taken care of; mend the cause and run this again: what \
             is there already is passed over",
            tally.done()
        )));
    }
    out.show(&tally.to_json(), || tally.sentences())?;
    Ok(())
}

/// Sends all batches, a few at a time, and tells of each in order.
async fn import(
    batches: Batches<Box<dyn BufRead>>,
    client: &Client,
    tenant_id: &str,
    mut tell: impl FnMut(Tally),
) -> Result<(), Failure> {
    let mut answers = stream::iter(batches)
        .map(|batch| async { send(client.clone(), tenant_id, batch?).await })
        .buffered(IN_FLIGHT);
    while let Some(some) = answers.try_next().await? {
        tell(some);
    }
    Ok(())
}

/// Sends a batch, in halves where that is too much for the broker.
async fn send(mut client: Client, tenant_id: &str, batch: Batch) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut waiting = vec![batch];
    while let Some(batch) = waiting.pop() {
        match call(&mut client, tenant_id, &batch).await {
            Ok(answer) => tally.add(Tally::of(&batch, &answer)),
            Err(status) if is_too_much(&status) => match batch.clone().halves() {
                Some([first, second]) => waiting.extend([second, first]),
                None => return Err(fault(&batch, &status)),
            },
            Err(status) => return Err(fault(&batch, &status)),
        }
    }
    Ok(tally)
}

/// A repeated import does nothing twice, so that one whose outcome is not known is
/// sent again like one that was refused for a while.
async fn call(
    client: &mut Client,
    tenant_id: &str,
    batch: &Batch,
) -> Result<ImportDevicesResponse, Status> {
    let mut tries = 1;
    loop {
        let request = ImportDevicesRequest {
            tenant_id: tenant_id.to_owned(),
            devices: batch.devices.clone(),
        };
        let status = match client.import_devices(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        match wait_before_next(&status) {
            Some(wait) if tries < TRIES => tokio::time::sleep(wait).await,
            _ => return Err(status),
        }
        tries += 1;
    }
}

/// How long the broker wants to be left alone, where time will mend it.
fn wait_before_next(status: &Status) -> Option<Duration> {
    if !matches!(status.code(), Code::ResourceExhausted | Code::Unavailable) {
        return None;
    }
    let details = status.get_error_details();
    details.retry_info()?.retry_delay
}

fn is_too_much(status: &Status) -> bool {
    let details = status.get_error_details();
    let whole = details.bad_request().is_some_and(|details| {
        let faults = &details.field_violations;
        faults.iter().any(|fault| fault.field == "devices")
    });
    // A broker whose limit on messages is lower than the default.
    let unreadable = details
        .error_info()
        .is_some_and(|info| info.reason == "MALFORMED_REQUEST");
    whole || unreadable
}

/// Which device `devices[17].public_key` speaks of, and which of its fields.
fn place(field: &str) -> Option<(usize, &str)> {
    let (at, rest) = field.strip_prefix("devices[")?.split_once(']')?;
    Some((at.parse().ok()?, rest.trim_start_matches('.')))
}

/// The broker's refusal in terms of the file.
fn fault(batch: &Batch, status: &Status) -> Failure {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|details| &details.field_violations);
    let first = violations.and_then(|all| all.first());
    if let Some(violation) = first
        && let Some((at, field)) = place(&violation.field)
    {
        return batch.fault(at, &format!("{field}: {}", violation.description));
    }
    let info = details.error_info();
    let field = info.and_then(|info| info.metadata.get("field"));
    match (info, field.and_then(|field| place(field))) {
        (Some(info), Some((at, _))) => {
            let message = status.message();
            let text = message.split_once(": ").map_or(message, |(_, text)| text);
            batch.fault(at, &format!("{text} [{}]", info.reason))
        }
        _ => Failure::from_status(status),
    }
}
