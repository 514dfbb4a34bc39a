//! `countersign tenant`

use countersign_proto::v1::{
    CreateTenantRequest, GetTenantRequest, ListTenantsRequest, NumberMatching, PendingLimit,
    Tenant, TenantPolicy,
};
use serde_json::{Value, json};

use super::{
    arguments::{self, TenantAction, TenantCommand, TenantCreate},
    failure::Failure,
    output::{Output, printable, table},
    policy::number,
    policy_fields, remote,
};

/// Tenants per call of `tenant list`.
const PAGE: i32 = 1000;

pub(super) async fn run(command: TenantCommand, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(&command.admin).await?;
    match command.action {
        TenantAction::Create(tenant) => {
            let request = CreateTenantRequest {
                policy: Some(policy(&tenant)?),
                display_name: tenant.name,
                preset: tenant.preset.map_or(0, |preset| number(preset).into()),
                country: tenant.country.unwrap_or_default(),
            };
            let answer = client.create_tenant(request).await?.into_inner();
            let tenant = answer.tenant.ok_or_else(incomplete)?;
            out.show(&to_json(&tenant), || {
                format!(
                    "Added {}: tenant id {}",
                    printable(&tenant.display_name),
                    tenant.tenant_id
                )
            })?;
        }
        TenantAction::List => {
            let mut rows = Vec::new();
            let mut request = ListTenantsRequest {
                page_size: PAGE,
                page_token: String::new(),
            };
            loop {
                let page = client.list_tenants(request.clone()).await?.into_inner();
                for tenant in &page.tenants {
                    if out.is_json() {
                        out.show(&to_json(tenant), String::new)?;
                    }
                    rows.push(row(tenant));
                }
                if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            if !out.is_json() {
                out.raw(table(["TENANT ID", "NAME", "CREATED"], &rows).as_bytes())?;
            }
        }
        TenantAction::Show { tenant_id } => {
            let answer = client.get_tenant(GetTenantRequest { tenant_id }).await?;
            let tenant = answer.into_inner().tenant.ok_or_else(incomplete)?;
            out.show(&to_json(&tenant), || describe(&tenant))?;
        }
    }
    Ok(())
}

/// The answer lacks what the contract says is there.
pub(super) fn incomplete() -> Failure {
    Failure::failed("the broker's answer is incomplete; is it of another version?")
}

fn policy(tenant: &TenantCreate) -> Result<TenantPolicy, Failure> {
    let number_matching = match tenant.number_matching {
        None => NumberMatching::Unspecified,
        Some(arguments::NumberMatching::Off) => NumberMatching::Off,
        Some(arguments::NumberMatching::Always) => NumberMatching::Always,
        Some(arguments::NumberMatching::WhenRisky) => NumberMatching::WhenRisky,
    };
    let pending_limit = match tenant.pending_limit {
        None => PendingLimit::Unspecified,
        Some(arguments::PendingLimit::Supersede) => PendingLimit::Supersede,
        Some(arguments::PendingLimit::Reject) => PendingLimit::Reject,
    };
    Ok(TenantPolicy {
        number_matching: number_matching.into(),
        number_digits: tenant.number_digits.unwrap_or(0),
        challenge_ttl: tenant.challenge_ttl.map(duration).transpose()?,
        pending_limit: pending_limit.into(),
        encrypted_prompts: tenant.encrypted_prompts.then_some(true),
        language: tenant.language.clone(),
        ..TenantPolicy::default()
    })
}

/// A time span as protobuf has it.
pub(super) fn duration(span: std::time::Duration) -> Result<prost_types::Duration, Failure> {
    span.try_into()
        .map_err(|_| Failure::usage("the time span is too long"))
}

fn to_json(tenant: &Tenant) -> Value {
    json!({
        "tenant_id": tenant.tenant_id,
        "display_name": tenant.display_name,
        "policy": tenant.policy.as_ref().map(policy_fields::to_json),
        "create_time": tenant.create_time.map(|time| time.to_string()),
    })
}

/// A time for people, or a dash.
pub(super) fn time(time: Option<prost_types::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn row(tenant: &Tenant) -> [String; 3] {
    [
        tenant.tenant_id.clone(),
        tenant.display_name.clone(),
        time(tenant.create_time),
    ]
}

fn describe(tenant: &Tenant) -> String {
    let mut rows = vec![
        ["tenant id".to_owned(), tenant.tenant_id.clone()],
        ["name".to_owned(), tenant.display_name.clone()],
        ["created".to_owned(), time(tenant.create_time)],
    ];
    if let Some(policy) = &tenant.policy {
        rows.push(["policy version".to_owned(), policy.version.to_string()]);
        for path in policy_fields::PATHS {
            rows.push([(*path).to_owned(), policy_fields::text(policy, path)]);
        }
    }
    table(["PROPERTY", "VALUE"], &rows)
}
