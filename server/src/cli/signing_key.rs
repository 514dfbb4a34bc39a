//! `countersign signing-key`

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use countersign_proto::v1::{
    ListSigningKeysRequest, RotateSigningKeyRequest, SigningKey, SigningKeyState,
};
use serde_json::{Value, json};

use super::{
    arguments::{SigningKeyAction, SigningKeyCommand},
    failure::Failure,
    output::{Output, table},
    remote,
    tenant::{duration, incomplete, time},
};

pub(super) async fn run(command: SigningKeyCommand, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(&command.admin).await?;
    match command.action {
        SigningKeyAction::Rotate { lead_time } => {
            let request = RotateSigningKeyRequest {
                lead_time: Some(duration(lead_time)?),
            };
            let answer = client.rotate_signing_key(request).await?.into_inner();
            let key = answer.key.ok_or_else(incomplete)?;
            out.show(&to_json(&key), || {
                format!(
                    "Made signing key {}, which signs from {}",
                    key.key_id,
                    time(key.activate_time)
                )
            })?;
        }
        SigningKeyAction::List => {
            let answer = client.list_signing_keys(ListSigningKeysRequest {}).await?;
            let keys = answer.into_inner().keys;
            if out.is_json() {
                for key in &keys {
                    out.show(&to_json(key), String::new)?;
                }
            } else {
                let rows: Vec<_> = keys.iter().map(row).collect();
                let heading = ["KEY ID", "STATE", "CREATED", "SIGNS FROM"];
                out.raw(table(heading, &rows).as_bytes())?;
            }
        }
    }
    Ok(())
}

fn state(key: &SigningKey) -> &'static str {
    match key.state() {
        SigningKeyState::Next => "next",
        SigningKeyState::Current => "current",
        SigningKeyState::Retired => "retired",
        SigningKeyState::Overtaken => "overtaken",
        SigningKeyState::Unspecified => "unspecified",
    }
}

fn to_json(key: &SigningKey) -> Value {
    json!({
        "key_id": key.key_id,
        "public_key": BASE64_URL_SAFE_NO_PAD.encode(&key.public_key),
        "state": state(key),
        "create_time": key.create_time.map(|time| time.to_string()),
        "activate_time": key.activate_time.map(|time| time.to_string()),
    })
}

fn row(key: &SigningKey) -> [String; 4] {
    [
        key.key_id.clone(),
        state(key).to_owned(),
        time(key.create_time),
        time(key.activate_time),
    ]
}
