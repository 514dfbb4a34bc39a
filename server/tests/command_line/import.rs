//! `countersign device import` against a real broker.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_proto::signing::PrivateKey;
use serde_json::{Value, json};

use super::{lines, real::Real};

const ALLOWED: (&str, &str) = ("COUNTERSIGN_LIMITS__ALLOW_DEVICE_IMPORT", "true");

fn device(n: u32, user: &str) -> Value {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    let key = PrivateKey::from_ed25519_seed(&seed).public_bytes();
    json!({
        "user_id": user, "key_algorithm": "ED25519", "public_key": STANDARD.encode(key),
        "key_protection": "HARDWARE", "platform": "IOS", "display_name": "phone", "language": "nl",
        "push": {"gateway": "FCM", "app_id": "app", "token": format!("token{n}")},
    })
}

fn write(path: &Path, devices: &[Value]) {
    let text: Vec<_> = devices.iter().map(Value::to_string).collect();
    std::fs::write(path, text.join("\n")).unwrap();
}

#[tokio::test]
async fn a_file_is_imported_in_batches_and_may_be_again() {
    let broker = Real::start_with(&[ALLOWED]).await;
    let tenant = broker.json(&["tenant", "create", "Eagle"]).await;
    let tenant = tenant[0]["tenant_id"].as_str().unwrap().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("devices.jsonl");
    let file = path.to_str().unwrap();
    // More than a request may have, and of some users as many as they may have:
    // that is more than a commit holds.
    let mut devices: Vec<_> = (0..250).map(|n| device(n, &format!("u{n}"))).collect();
    devices.extend((250..450).map(|n| device(n, &format!("crowd{}", n / 10))));
    write(&path, &devices);
    let command = ["device", "import", file];
    assert_eq!(
        broker.json(&command).await,
        [json!({"imported": 450, "already_present": 0, "removed_before": []})]
    );

    let list = broker.json(&["device", "list", "u7"]).await;
    assert_eq!(list.len(), 1);
    let id = list[0]["device_id"].as_str().unwrap();
    broker.text(&["device", "remove", id, "--yes"]).await;
    devices.push(device(450, "late"));
    write(&path, &devices);
    assert_eq!(
        broker.json(&command).await,
        [json!({
            "imported": 1, "already_present": 449,
            "removed_before": [{"line": 8, "device_id": id, "user_id": "u7"}],
        })]
    );
    let text = broker.text(&command).await;
    assert!(text.starts_with("Imported 0 devices; 450 were there already\n"));
    assert!(
        text.ends_with(&format!("\n  line 8: {id} of u7\n")),
        "{text}"
    );
    assert_eq!(
        broker.json(&["device", "list", "u7"]).await,
        [] as [Value; 0]
    );

    // Faults: of the file, and of what the broker finds.
    let mut weak = device(451, "weak");
    weak["public_key"] = STANDARD.encode([0; 32]).into();
    broker
        .text(&["user", "lock", "locked", "--tenant", &tenant])
        .await;
    for (bad, said) in [
        (json!({"user_id": "x"}), "missing field `key_algorithm`"),
        (weak, "public_key: is no key of that algorithm"),
        (
            device(452, "locked"),
            "the account is locked [ACCOUNT_LOCKED]",
        ),
        (
            device(453, "crowd30"),
            "the user has too many devices [TOO_MANY_DEVICES]",
        ),
    ] {
        let mut faulty = devices.clone();
        faulty.insert(300, device(499, "never"));
        faulty.insert(301, bad);
        write(&path, &faulty);
        let (code, stdout, stderr) = broker.run(&command).await;
        assert_eq!((code, stdout.as_str()), (1, ""));
        let place = format!("countersign: {file}:302: {said}");
        assert!(stderr.starts_with(&place), "{stderr}");
        assert!(stderr.contains("; 200 devices of the file "), "{stderr}");
        let list = broker.json(&["device", "list", "never"]).await;
        assert!(list.is_empty(), "its batch was stored: {said}");
    }
    let (code, _, stderr) = broker.run(&["device", "import", "/nowhere"]).await;
    assert_eq!(code, 2, "{stderr}");
}

#[tokio::test]
async fn a_broker_that_takes_less_at_a_time() {
    let small = ("COUNTERSIGN_LIMITS__MAX_MESSAGE_BYTES", "4096");
    let broker = Real::start_with(&[ALLOWED, small]).await;
    broker.text(&["tenant", "create", "Eagle"]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("devices.jsonl");
    let devices: Vec<_> = (0..200).map(|n| device(n, &format!("u{n}"))).collect();
    write(&path, &devices);
    let done = broker
        .json(&["device", "import", path.to_str().unwrap()])
        .await;
    assert_eq!(done[0]["imported"], 200);
}

#[tokio::test]
async fn not_unless_the_broker_allows_it() {
    let broker = Real::start().await;
    broker.text(&["tenant", "create", "Eagle"]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("devices.jsonl");
    write(&path, &[device(1, "tom")]);
    let file = path.to_str().unwrap();
    let (code, stdout, stderr) = broker.run(&["device", "import", file]).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("[IMPORT_NOT_ALLOWED]"), "{stderr}");
    assert_eq!(lines(&stdout), [] as [Value; 0]);
}
