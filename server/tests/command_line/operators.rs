//! What operators ask of a broker, and how its answers are printed.

use countersign_proto::v1::{CreateTenantRequest, NumberMatching, PolicyPreset, TenantPolicy};
use prost_types::Duration;
use serde_json::{Value, json};

use super::{
    countersign, lines, parts,
    played::{ADMIN_KEY, Played},
};

#[tokio::test]
async fn operators_commands_ask_the_broker_and_print_json() {
    let cases: &[(&[&str], &str, Vec<Value>)] = &[
        (
            &[
                "tenant",
                "create",
                "Eagle",
                "--number-matching",
                "off",
                "--challenge-ttl",
                "90s",
                "--encrypted-prompts",
                "--preset",
                "low-friction",
                "--country",
                "BE",
            ],
            &format!(
                "{:?}",
                CreateTenantRequest {
                    display_name: "Eagle".to_owned(),
                    policy: Some(TenantPolicy {
                        number_matching: NumberMatching::Off.into(),
                        challenge_ttl: Some(Duration {
                            seconds: 90,
                            nanos: 0
                        }),
                        encrypted_prompts: Some(true),
                        ..TenantPolicy::default()
                    }),
                    preset: PolicyPreset::LowFriction.into(),
                    country: "BE".to_owned(),
                }
            ),
            vec![json!({
                "tenant_id": "t1", "display_name": "Eagle", "create_time": "1970-01-01T00:00:00Z",
                "policy": null,
            })],
        ),
        (
            &[
                "key", "create", "--tenant", "t1", "--role", "idp", "--name", "n",
            ],
            "CreateApiKeyRequest { tenant_id: \"t1\", role: Idp, display_name: \"n\" }",
            vec![json!({
                "api_key": "csk_k1_s", "api_key_id": "k1", "tenant_id": "t1", "role": "idp",
                "display_name": "sign-in page", "create_time": "1970-01-01T00:00:00Z", "revoke_time": null,
            })],
        ),
        (
            &["key", "list"],
            "ListApiKeysRequest { tenant_id: \"\" }",
            vec![json!({
                "api_key_id": "k1", "tenant_id": null, "role": "admin",
                "display_name": "sign-in page", "create_time": "1970-01-01T00:00:00Z", "revoke_time": null,
            })],
        ),
        (
            &["key", "revoke", "csk_k1_secret", "--yes"],
            "RevokeApiKeyRequest { api_key_id: \"k1\" }",
            vec![json!({
                "api_key_id": "k1", "tenant_id": "t1", "role": "idp", "display_name": "sign-in page",
                "create_time": "1970-01-01T00:00:00Z", "revoke_time": "1970-01-01T00:00:01Z",
            })],
        ),
        (
            &["signing-key", "rotate", "--lead-time", "2h"],
            "RotateSigningKeyRequest { lead_time: Some(Duration { seconds: 7200, nanos: 0 }) }",
            vec![json!({
                "key_id": "thumb", "public_key": "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s",
                "state": "next", "create_time": "1970-01-01T00:00:00Z", "activate_time": "1970-01-02T00:00:00Z",
            })],
        ),
    ];
    for (arguments, asked, printed) in cases {
        let played = Played::default();
        let address = played.serve().await;
        let mut command = countersign(arguments);
        command.args(["--json", "--address", &address]);
        command.env("COUNTERSIGN_ADMIN_KEY", ADMIN_KEY);
        let (code, stdout, stderr) = parts(command.output().await.unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert_eq!(lines(&stdout), *printed, "{arguments:?}");
        assert_eq!(*played.asked.lock().unwrap(), [*asked]);
    }
}

#[tokio::test]
async fn without_json_there_are_tables_over_all_pages() {
    let address = Played::default().serve().await;
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, format!("{ADMIN_KEY}\n")).unwrap();
    let mut command = countersign(&["tenant", "list", "--admin-key-file"]);
    command.arg(&key_file).env("COUNTERSIGN_ADDRESS", &address);
    let (code, stdout, _) = parts(command.output().await.unwrap());
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "TENANT ID  NAME    CREATED\n\
         t1         Eagle\u{fffd}  1970-01-01T00:00:00Z\n\
         t2         Eagle\u{fffd}  1970-01-01T00:00:00Z\n"
    );
}
