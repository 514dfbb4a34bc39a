//! `countersign audit list`

use std::collections::VecDeque;

use countersign_proto::v1::{AuditEntry, ListAuditEntriesRequest, WatchAuditRequest};
use serde_json::{Value, json};

use super::{
    super::{
        arguments::AdminArgs,
        failure::Failure,
        output::{Output, printable, table},
        remote,
        tenant::time,
    },
    ListArgs,
};

/// Entries per call.
const PAGE: i32 = 1000;

pub(super) async fn run(admin: &AdminArgs, what: ListArgs, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(admin).await?;
    let mut newest = VecDeque::new();
    let mut request = ListAuditEntriesRequest {
        tenant_id: what.tenant.clone().unwrap_or_default(),
        page_size: PAGE,
        page_token: String::new(),
        start_time: what.since,
        end_time: what.until,
        action: what.action.clone(),
        object: what.object.clone(),
        user_id: what.user.clone(),
    };
    let resume_token = loop {
        let answer = client.list_audit_entries(request.clone()).await?;
        let page = answer.into_inner();
        for entry in page.entries {
            newest.push_back(entry);
            if newest.len() > what.limit {
                newest.pop_front();
            }
        }
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break page.resume_token;
        }
        request.page_token = page.next_page_token;
    };
    if out.is_json() {
        for entry in &newest {
            out.show(&to_json(entry), String::new)?;
        }
    } else {
        let rows: Vec<_> = newest.iter().map(row).collect();
        let heading = ["TIME", "WHO", "FROM", "WHAT", "OBJECT", "USER", "OUTCOME"];
        out.raw(table(heading, &rows).as_bytes())?;
    }
    if !what.follow {
        return Ok(());
    }
    let request = WatchAuditRequest {
        tenant_id: what.tenant.clone().unwrap_or_default(),
        resume_token,
    };
    let mut news = client.watch_audit(request).await?.into_inner();
    while let Some(answer) = news.message().await? {
        for entry in answer
            .entries
            .iter()
            .filter(|entry| is_wanted(&what, entry))
        {
            out.show(&to_json(entry), || {
                row(entry).map(|cell| printable(&cell)).join("  ")
            })?;
        }
    }
    Ok(())
}

/// As the broker does it for pages.
fn is_wanted(what: &ListArgs, entry: &AuditEntry) -> bool {
    let is = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    let action = is(&what.action, &entry.action)
        || (what.action.ends_with('.') && entry.action.starts_with(&what.action));
    action && is(&what.object, &entry.object) && is(&what.user, &entry.user_id)
}

fn to_json(entry: &AuditEntry) -> Value {
    json!({
        "writer": entry.writer,
        "sequence": entry.sequence,
        "time": entry.time.map(|time| time.to_string()),
        "tenant_id": (!entry.tenant_id.is_empty()).then_some(&entry.tenant_id),
        "actor": entry.actor,
        "address": entry.address,
        "action": entry.action,
        "object": entry.object,
        "outcome": entry.outcome,
        "user_id": entry.user_id,
    })
}

fn row(entry: &AuditEntry) -> [String; 7] {
    [
        time(entry.time),
        entry.actor.clone(),
        entry.address.clone(),
        entry.action.clone(),
        entry.object.clone(),
        entry.user_id.clone(),
        entry.outcome.clone(),
    ]
}
