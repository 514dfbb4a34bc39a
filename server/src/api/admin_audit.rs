//! The audit trail's part of `AdminService`.

use std::{pin::Pin, sync::Arc};

use countersign_proto::v1;
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{
    admin::{DEFAULT_PAGE, MAX_PAGE, caller, optional_tenant_id, page_size},
    approval::invalid,
    status::status,
};
use crate::{
    broker::{
        Broker,
        audit::{AuditExport, ExportLine, Filter, Position, Recorded},
    },
    domain::{
        Invalid,
        audit::{ExportHeader, SignedHead},
        body::timestamp,
        context::check_text,
        time::Timestamp,
    },
};

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn position(field: &str, text: &str) -> Result<Option<Position>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    Position::parse(field, text).map(Some)
}

fn time(field: &str, value: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    let bad = || Invalid::new(field, "must be a time from 1970 to 9999");
    // As google.protobuf.Timestamp has it.
    let seconds = u64::try_from(value.seconds)
        .ok()
        .filter(|seconds| *seconds < 253_402_300_800)
        .ok_or_else(bad)?;
    let nanos = u64::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or_else(bad)?;
    Ok(Some(Timestamp::from_millis(
        seconds * 1000 + nanos / 1_000_000,
    )))
}

fn filter(request: v1::ListAuditEntriesRequest) -> Result<Filter, Invalid> {
    for (field, text) in [
        ("action", &request.action),
        ("object", &request.object),
        ("user_id", &request.user_id),
    ] {
        check_text(field, text, 0, 256)?;
    }
    Ok(Filter {
        start: time("start_time", request.start_time)?,
        end: time("end_time", request.end_time)?,
        action: request.action,
        object: request.object,
        user: request.user_id,
    })
}

fn entry(recorded: Recorded) -> v1::AuditEntry {
    let told = recorded.told;
    v1::AuditEntry {
        writer: recorded.writer,
        sequence: recorded.entry.sequence,
        time: Some(timestamp(told.time)),
        tenant_id: told.tenant.map(|id| id.to_string()).unwrap_or_default(),
        actor: told.actor,
        address: told.address,
        action: told.action,
        object: told.object,
        outcome: told.outcome,
        user_id: told.user,
        content: recorded.entry.content.into(),
        link: recorded.entry.link.to_vec().into(),
    }
}

fn head(head: &SignedHead) -> v1::SignedAuditHead {
    v1::SignedAuditHead {
        body: head.body.clone().into(),
        key_id: head.key_id.clone(),
        signature: head.signature.clone().into(),
    }
}

fn line(line: ExportLine) -> v1::AuditLine {
    use v1::audit_line::Line;
    let line = match line {
        ExportLine::Entry(recorded) => Line::Entry(entry(*recorded)),
        ExportLine::Digests {
            writer,
            first,
            digests,
            link,
        } => Line::Digests(v1::AuditDigests {
            writer,
            first_sequence: first,
            digests: digests
                .into_iter()
                .map(|digest| digest.to_vec().into())
                .collect(),
            link: link.to_vec().into(),
        }),
        ExportLine::Head(signed) => Line::Head(head(&signed)),
        ExportLine::Seal(signed) => Line::Seal(v1::SignedAuditSeal {
            body: signed.body.into(),
            key_id: signed.key_id,
            signature: signed.signature.into(),
        }),
    };
    v1::AuditLine { line: Some(line) }
}

fn header(header: &ExportHeader, jwks: String) -> v1::AuditExportHeader {
    v1::AuditExportHeader {
        issuer: header.issuer.clone(),
        tenant_id: header.tenant.map(|id| id.to_string()).unwrap_or_default(),
        export_time: Some(timestamp(header.time)),
        jwks,
        heads: header.heads.iter().map(head).collect(),
    }
}

pub(super) async fn list(
    broker: &Broker,
    request: Request<v1::ListAuditEntriesRequest>,
) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let tenant = optional_tenant_id(&request.tenant_id)?;
    let size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?;
    let after = position("page_token", &request.page_token).map_err(invalid)?;
    let filter = filter(request).map_err(invalid)?;
    let page = broker
        .list_audit(&caller, tenant, &filter, after, size)
        .await
        .map_err(status)?;
    let token = page.position.to_string();
    Ok(Response::new(v1::ListAuditEntriesResponse {
        entries: page.entries.into_iter().map(entry).collect(),
        next_page_token: if page.more {
            token.clone()
        } else {
            String::new()
        },
        resume_token: token,
    }))
}

pub(super) async fn watch(
    broker: &Arc<Broker>,
    request: Request<v1::WatchAuditRequest>,
) -> Result<Response<Answers<v1::WatchAuditResponse>>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let tenant = optional_tenant_id(&request.tenant_id)?;
    let after = position("resume_token", &request.resume_token).map_err(invalid)?;
    let watch = broker
        .watch_audit(caller, tenant, after)
        .await
        .map_err(status)?;
    let answers = stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next().await {
            Ok(Some(page)) => {
                let answer = v1::WatchAuditResponse {
                    entries: page.entries.into_iter().map(entry).collect(),
                    resume_token: page.position.to_string(),
                };
                Some((Ok(answer), Some(watch)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(status(error)), None)),
        }
    });
    Ok(Response::new(Box::pin(answers)))
}

pub(super) async fn export(
    broker: &Arc<Broker>,
    request: Request<v1::ExportAuditRequest>,
) -> Result<Response<Answers<v1::ExportAuditResponse>>, Status> {
    let caller = caller(&request)?;
    let tenant = optional_tenant_id(&request.get_ref().tenant_id)?;
    let export = broker.export_audit(&caller, tenant).await.map_err(status)?;
    let first = v1::ExportAuditResponse {
        header: Some(header(export.header(), broker.jwks().to_string())),
        lines: Vec::new(),
    };
    let rest = stream::unfold(Some(export), |export: Option<AuditExport>| async {
        let mut export = export?;
        match export.next().await {
            Ok(Some(lines)) => {
                let answer = v1::ExportAuditResponse {
                    header: None,
                    lines: lines.into_iter().map(line).collect(),
                };
                Some((Ok(answer), Some(export)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(status(error)), None)),
        }
    });
    let answers = futures_util::StreamExt::chain(stream::iter([Ok(first)]), rest);
    Ok(Response::new(Box::pin(answers)))
}
