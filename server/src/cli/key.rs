//! `countersign key`

use countersign_proto::v1::{
    ApiKey, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest, Role,
};
use serde_json::{Value, json};

use super::{
    arguments::{self, KeyAction, KeyCommand},
    confirm::confirm,
    failure::Failure,
    output::{Output, table},
    remote,
    tenant::{incomplete, time},
};

pub(super) async fn run(command: KeyCommand, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(&command.admin).await?;
    match command.action {
        KeyAction::Create {
            tenant,
            role,
            name,
            installation: _,
        } => {
            let role = match role {
                arguments::Role::Idp => Role::Idp,
                arguments::Role::Admin => Role::Admin,
            };
            let request = CreateApiKeyRequest {
                tenant_id: tenant.unwrap_or_default(),
                role: role.into(),
                display_name: name,
            };
            let answer = client.create_api_key(request).await?.into_inner();
            let key = answer.key.ok_or_else(incomplete)?;
            let mut value = to_json(&key);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("api_key".to_owned(), answer.api_key.clone().into());
            }
            out.show(&value, || {
                format!(
                    "API key {} (shown this once, keep it safe):\n{}",
                    key.api_key_id, answer.api_key
                )
            })?;
        }
        KeyAction::List { tenant } => {
            let request = ListApiKeysRequest {
                tenant_id: tenant.unwrap_or_default(),
            };
            let keys = client.list_api_keys(request).await?.into_inner().keys;
            if out.is_json() {
                for key in &keys {
                    out.show(&to_json(key), String::new)?;
                }
            } else {
                let heading = [
                    "API KEY ID",
                    "ROLE",
                    "TENANT ID",
                    "NAME",
                    "CREATED",
                    "REVOKED",
                ];
                let rows: Vec<_> = keys.iter().map(row).collect();
                out.raw(table(heading, &rows).as_bytes())?;
            }
        }
        KeyAction::Revoke { api_key_id, yes } => {
            let api_key_id = id_of(&api_key_id)?.to_owned();
            confirm(
                yes,
                &format!("Revoke API key {api_key_id}? Whoever uses it is refused at once."),
            )?;
            let request = RevokeApiKeyRequest { api_key_id };
            let answer = client.revoke_api_key(request).await?.into_inner();
            let key = answer.key.ok_or_else(incomplete)?;
            out.show(&to_json(&key), || format!("Revoked {}", key.api_key_id))?;
        }
    }
    Ok(())
}

/// The id, where the whole key was given. A key is not repeated in an error.
fn id_of(given: &str) -> Result<&str, Failure> {
    let Some(rest) = given.strip_prefix("csk_") else {
        return Ok(given);
    };
    match rest.split_once('_') {
        Some((id, _)) if !id.is_empty() => Ok(id),
        Some(_) | None => Err(Failure::usage(
            "that begins like an API key but is none (csk_<id>_<secret>)",
        )),
    }
}

fn role(key: &ApiKey) -> &'static str {
    match key.role() {
        Role::Idp => "idp",
        Role::Admin => "admin",
        Role::Unspecified => "unspecified",
    }
}

fn to_json(key: &ApiKey) -> Value {
    json!({
        "api_key_id": key.api_key_id,
        "tenant_id": (!key.tenant_id.is_empty()).then_some(&key.tenant_id),
        "role": role(key),
        "display_name": key.display_name,
        "create_time": key.create_time.map(|time| time.to_string()),
        "revoke_time": key.revoke_time.map(|time| time.to_string()),
    })
}

fn row(key: &ApiKey) -> [String; 6] {
    let tenant = if key.tenant_id.is_empty() {
        "(installation)".to_owned()
    } else {
        key.tenant_id.clone()
    };
    [
        key.api_key_id.clone(),
        role(key).to_owned(),
        tenant,
        key.display_name.clone(),
        time(key.create_time),
        time(key.revoke_time),
    ]
}
