//! `countersign policy`

use countersign_proto::v1::{
    GetPolicyRequest, ListPolicyPresetsRequest, ListPolicyVersionsRequest, ListTenantsRequest,
    PolicyPreset, PolicyVersion, TenantPolicy, UpdatePolicyRequest,
    admin_service_client::AdminServiceClient,
};
use prost_types::FieldMask;
use serde_json::json;

use super::{
    arguments::policy::{PolicyAction, PolicyCommand, Preset},
    failure::Failure,
    output::{Output, table},
    policy_fields,
    remote::{self, Connection},
    tenant::{incomplete, time},
};

type Client = AdminServiceClient<Connection>;

pub(super) async fn run(command: PolicyCommand, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(&command.admin).await?;
    if let PolicyAction::Presets = command.action {
        return presets(&mut client, out).await;
    }
    let tenant_id = tenant_id(&mut client, command.tenant).await?;
    match command.action {
        PolicyAction::Presets => Ok(()),
        PolicyAction::Get { fields } => {
            let policy = get(&mut client, tenant_id).await?;
            show(&policy, &fields, out)
        }
        PolicyAction::Set {
            assignments,
            expected_version,
        } => {
            let (policy, paths) = policy_fields::parse(&assignments).map_err(Failure::usage)?;
            let request = UpdatePolicyRequest {
                tenant_id,
                policy: Some(policy),
                update_mask: Some(FieldMask { paths }),
                expected_version: expected_version.unwrap_or(0),
                ..UpdatePolicyRequest::default()
            };
            update(&mut client, request, out).await
        }
        PolicyAction::Apply {
            preset,
            expected_version,
        } => {
            let request = UpdatePolicyRequest {
                tenant_id,
                preset: number(preset).into(),
                expected_version: expected_version.unwrap_or(0),
                ..UpdatePolicyRequest::default()
            };
            update(&mut client, request, out).await
        }
        PolicyAction::History => history(&mut client, tenant_id, out).await,
    }
}

/// The preset as the contract numbers it.
pub(super) fn number(preset: Preset) -> PolicyPreset {
    match preset {
        Preset::Standard => PolicyPreset::Standard,
        Preset::Nist => PolicyPreset::Nist,
        Preset::PhishingHardened => PolicyPreset::PhishingHardened,
        Preset::LowFriction => PolicyPreset::LowFriction,
    }
}

/// The organisation that is meant; where none is named, the only one that the
/// key may see.
pub(super) async fn tenant_id(
    client: &mut Client,
    named: Option<String>,
) -> Result<String, Failure> {
    if let Some(named) = named {
        return Ok(named);
    }
    let request = ListTenantsRequest {
        page_size: 2,
        page_token: String::new(),
    };
    let mut seen = client.list_tenants(request).await?.into_inner().tenants;
    match (seen.pop(), seen.pop()) {
        (Some(only), None) => Ok(only.tenant_id),
        (None, _) => Err(Failure::failed("there is no organisation yet")),
        (Some(_), Some(_)) => Err(Failure::usage(
            "--tenant is needed: this key may see several organisations",
        )),
    }
}

async fn get(client: &mut Client, tenant_id: String) -> Result<TenantPolicy, Failure> {
    let answer = client.get_policy(GetPolicyRequest { tenant_id }).await?;
    answer.into_inner().policy.ok_or_else(incomplete)
}

fn show(policy: &TenantPolicy, fields: &[String], out: &Output) -> Result<(), Failure> {
    let mut paths = Vec::new();
    for name in fields {
        paths.extend(policy_fields::paths_of(name).map_err(Failure::usage)?);
    }
    if fields.is_empty() {
        paths.extend_from_slice(policy_fields::PATHS);
    }
    out.show(&policy_fields::to_json(policy), || {
        let mut rows: Vec<_> = paths
            .iter()
            .map(|path| [(*path).to_owned(), policy_fields::text(policy, path)])
            .collect();
        if fields.is_empty() {
            rows.push(["version".to_owned(), policy.version.to_string()]);
        }
        table(["FIELD", "VALUE"], &rows)
    })?;
    Ok(())
}

/// Changes the rules and says what that came to.
async fn update(
    client: &mut Client,
    request: UpdatePolicyRequest,
    out: &Output,
) -> Result<(), Failure> {
    let before = get(client, request.tenant_id.clone()).await?;
    let answer = client.update_policy(request).await?.into_inner();
    let after = answer.policy.ok_or_else(incomplete)?;
    out.show(&policy_fields::to_json(&after), || {
        if after.version == before.version {
            return format!("Nothing to change: version {}", after.version);
        }
        let mut text = format!("Changed, from now on: version {}\n", after.version);
        for change in policy_fields::changes(&before, &after) {
            text.push_str(&format!("  {change}\n"));
        }
        text
    })?;
    Ok(())
}

/// Versions per call.
const PAGE: i32 = 100;

async fn history(client: &mut Client, tenant_id: String, out: &Output) -> Result<(), Failure> {
    let mut versions: Vec<PolicyVersion> = Vec::new();
    loop {
        let request = ListPolicyVersionsRequest {
            tenant_id: tenant_id.clone(),
            page_size: PAGE,
            before_version: versions.last().map_or(0, number_of),
        };
        let page = client.list_policy_versions(request).await?.into_inner();
        let last = page.versions.last().map_or(1, number_of);
        versions.extend(page.versions);
        if last <= 1 {
            break;
        }
    }
    if out.is_json() {
        for version in &versions {
            let value = json!({
                "version": number_of(version),
                "change_time": version.change_time.map(|time| time.to_string()),
                "changed_by": version.changed_by,
                "policy": version.policy.as_ref().map(policy_fields::to_json),
            });
            out.show(&value, String::new)?;
        }
        return Ok(());
    }
    let rows: Vec<_> = versions
        .iter()
        .enumerate()
        .map(|(at, version)| {
            let older = at.checked_add(1).and_then(|next| versions.get(next));
            let changes = match (
                older.and_then(|older| older.policy.as_ref()),
                &version.policy,
            ) {
                (Some(older), Some(newer)) => policy_fields::changes(older, newer).join(", "),
                _ => String::new(),
            };
            [
                number_of(version).to_string(),
                time(version.change_time),
                version.changed_by.clone(),
                changes,
            ]
        })
        .collect();
    out.raw(table(["VERSION", "FROM", "BY", "CHANGES"], &rows).as_bytes())?;
    Ok(())
}

fn number_of(version: &PolicyVersion) -> u64 {
    version.policy.as_ref().map_or(0, |policy| policy.version)
}

async fn presets(client: &mut Client, out: &Output) -> Result<(), Failure> {
    let request = ListPolicyPresetsRequest {};
    let answer = client.list_policy_presets(request).await?.into_inner();
    let standard = answer
        .presets
        .iter()
        .find(|preset| preset.preset() == PolicyPreset::Standard)
        .and_then(|preset| preset.policy.clone())
        .unwrap_or_default();
    for preset in &answer.presets {
        let value = json!({
            "name": preset.name,
            "summary": preset.summary,
            "policy": preset.policy.as_ref().map(policy_fields::to_json),
        });
        out.show(&value, || {
            let mut text = format!("{}: {}\n", preset.name, preset.summary);
            let policy = preset.policy.as_ref();
            for change in policy
                .map(|policy| policy_fields::changes(&standard, policy))
                .unwrap_or_default()
            {
                text.push_str(&format!("  {change}\n"));
            }
            text
        })?;
    }
    Ok(())
}
