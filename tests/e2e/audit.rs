//! The audit trail as operators meet it: pages, what is new, exports, and the
//! command that verifies them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use countersign_proto::v1::{self, admin_service_client::AdminServiceClient};
use countersign_tests::{
    Authorized, Bearer, TestBroker, in_time, process::binary, reason, two_tenants::TwoTenants,
};
use tonic::Code;

pub(crate) fn admin_with(broker: &TestBroker, key: &str) -> AdminServiceClient<Authorized> {
    AdminServiceClient::with_interceptor(broker.channel(), Bearer(key.to_owned()))
}

/// All pages.
pub(crate) async fn list(
    admin: &mut AdminServiceClient<Authorized>,
    mut request: v1::ListAuditEntriesRequest,
) -> (Vec<v1::AuditEntry>, String) {
    let mut all = Vec::new();
    loop {
        let page = admin.list_audit_entries(request.clone()).await.unwrap();
        let page = page.into_inner();
        all.extend(page.entries);
        if page.next_page_token.is_empty() {
            return (all, page.resume_token);
        }
        request.page_token = page.next_page_token;
    }
}

fn whole() -> v1::ListAuditEntriesRequest {
    v1::ListAuditEntriesRequest::default()
}

fn actions(entries: &[v1::AuditEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.action.as_str()).collect()
}

/// Runs `countersign audit`: exit code, standard output, standard error.
pub(crate) async fn command(key: &str, address: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = tokio::process::Command::new(binary())
        .arg("audit")
        .args(arguments)
        .env_clear()
        .env("COUNTERSIGN_ADMIN_KEY", key)
        .env("COUNTERSIGN_ADDRESS", address)
        .output()
        .await
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Exports to a file of this name.
pub(crate) async fn export(broker: &TestBroker, key: &str, dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(name);
    let path = file.to_str().unwrap();
    let (code, _, error) = command(key, &broker.address(), &["export", "--output", path]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    file
}

/// Verifies it, with the keys that the broker publishes.
pub(crate) async fn verify(broker: &TestBroker, file: &Path) -> (i32, String, String) {
    let jwks = reqwest::get(format!("http://{}/.well-known/jwks.json", broker.http))
        .await
        .unwrap();
    let keys = file.with_extension("jwks");
    std::fs::write(&keys, jwks.text().await.unwrap()).unwrap();
    let arguments = [
        "verify",
        file.to_str().unwrap(),
        "--jwks",
        keys.to_str().unwrap(),
    ];
    command("", "http://127.0.0.1:1", &arguments).await
}

/// Who did what to what, about whom, from where and with what outcome.
#[tokio::test]
async fn what_was_done_can_be_read() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let (key, key_id) = broker.api_key(&tenant.id, v1::Role::Admin).await;
    let phone = broker.phone(&tenant, "tom").await;
    broker.pass(Duration::from_secs(7200));
    let asked = broker.ask(&tenant, "tom").await;
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    let mut admin = admin_with(&broker, &key);
    let (all, _) = list(&mut admin, whole()).await;
    assert_eq!(
        actions(&all),
        [
            "tenant.created",
            "api_key.created",
            "api_key.created",
            "ticket.created",
            "ticket.tried",
            "device.registered",
            "challenge.created",
            "challenge.decided",
        ]
    );
    let decided = all.last().unwrap();
    assert_eq!(decided.actor, format!("device:{}", phone.device_id()));
    assert_eq!(decided.address, "127.0.0.1");
    assert_eq!(decided.object, asked.challenge_id);
    assert_eq!(decided.outcome, "APPROVED USER_APPROVED");
    assert_eq!(
        (&decided.tenant_id, decided.user_id.as_str()),
        (&tenant.id, "tom")
    );
    assert_eq!(all[2].object, key_id);
    assert_eq!(all[6].actor, format!("api_key:{}", tenant.api_key_id));

    // One at a time, it is the same.
    let paged = v1::ListAuditEntriesRequest {
        page_size: 1,
        ..whole()
    };
    assert_eq!(list(&mut admin, paged).await.0, all);
    let last_hour = decided.time.map(|time| prost_types::Timestamp {
        seconds: time.seconds - 3600,
        ..time
    });
    let filtered = |request| {
        let mut admin = admin.clone();
        async move {
            let (found, _) = list(&mut admin, request).await;
            actions(&found).join(" ")
        }
    };
    for (request, wanted) in [
        (
            v1::ListAuditEntriesRequest {
                user_id: "tom".into(),
                action: "challenge.".into(),
                ..whole()
            },
            "challenge.created challenge.decided",
        ),
        (
            v1::ListAuditEntriesRequest {
                action: "challenge.created".into(),
                ..whole()
            },
            "challenge.created",
        ),
        (
            v1::ListAuditEntriesRequest {
                action: "challenge".into(),
                ..whole()
            },
            "",
        ),
        (
            v1::ListAuditEntriesRequest {
                object: phone.device_id().into(),
                ..whole()
            },
            "device.registered",
        ),
        (
            v1::ListAuditEntriesRequest {
                user_id: "ann".into(),
                ..whole()
            },
            "",
        ),
        (
            v1::ListAuditEntriesRequest {
                start_time: last_hour,
                ..whole()
            },
            "challenge.created challenge.decided",
        ),
        (
            v1::ListAuditEntriesRequest {
                end_time: last_hour,
                action: "ticket.".into(),
                ..whole()
            },
            "ticket.created ticket.tried",
        ),
    ] {
        let what = format!("{request:?}");
        assert_eq!(filtered(request).await, wanted, "{what}");
    }
    // No secret, in whatever form.
    let secrets = [&tenant.api_key, &key, &broker.admin_key];
    for entry in &all {
        for secret in secrets {
            let secret = secret.rsplit('_').next().unwrap();
            assert!(!format!("{entry:?}").contains(secret), "{entry:?}");
        }
    }
}

/// One organisation's operators see nothing of another's; those of the
/// installation see all.
#[tokio::test]
async fn each_organisation_sees_its_own() {
    let world = TwoTenants::start().await;
    let mut own = admin_with(&world.broker, &world.own.admin.0);
    let mut foreign = admin_with(&world.broker, &world.foreign.admin.0);
    let (mine, _) = list(&mut own, whole()).await;
    let (theirs, _) = list(&mut foreign, whole()).await;
    assert!(mine.len() > 10 && theirs.len() > 10);
    for (entries, id) in [
        (&mine, &world.own.tenant.id),
        (&theirs, &world.foreign.tenant.id),
    ] {
        assert!(entries.iter().all(|entry| entry.tenant_id == *id));
    }
    let mut admin = world.broker.admin();
    let of_own = v1::ListAuditEntriesRequest {
        tenant_id: world.own.tenant.id.clone(),
        ..whole()
    };
    assert_eq!(list(&mut admin, of_own).await.0, mine);
    let (all, _) = list(&mut admin, whole()).await;
    let installation = all.iter().filter(|entry| entry.tenant_id.is_empty());
    assert_eq!(installation.clone().count(), 2, "the first keys");
    assert_eq!(all.len(), mine.len() + theirs.len() + 2);
    for (n, entry) in all.iter().enumerate() {
        assert_eq!(entry.sequence, n as u64 + 1);
    }
}

/// Who follows misses nothing, whatever happens to the broker meanwhile.
#[tokio::test]
async fn what_is_new_comes_at_once_and_goes_on_after_a_restart() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let other = broker.tenant().await;
    let (key, key_id) = broker.api_key(&tenant.id, v1::Role::Admin).await;
    let phone = broker.phone(&tenant, "tom").await;
    let mut admin = admin_with(&broker, &key);
    let (_, resume_token) = list(&mut admin, whole()).await;
    let request = v1::WatchAuditRequest {
        tenant_id: String::new(),
        resume_token,
    };
    let mut news = admin.watch_audit(request).await.unwrap().into_inner();
    let first = in_time(news.message()).await.unwrap().unwrap();
    assert_eq!(first.entries, []);
    broker.ask(&other, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let told = in_time(news.message()).await.unwrap().unwrap();
    assert_eq!(actions(&told.entries), ["challenge.created"]);
    assert_eq!(told.entries[0].object, asked.challenge_id);

    broker.stop().await;
    let ended = in_time(news.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    broker.restart().await;
    let phone = broker.moved(&phone);
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Deny, "")
        .await
        .unwrap();
    let mut admin = admin_with(&broker, &key);
    let request = v1::WatchAuditRequest {
        tenant_id: String::new(),
        resume_token: told.resume_token,
    };
    let mut news = admin.watch_audit(request).await.unwrap().into_inner();
    let told = in_time(news.message()).await.unwrap().unwrap();
    assert_eq!(actions(&told.entries), ["challenge.decided"]);
    assert_eq!(told.entries[0].outcome, "DENIED USER_DENIED");

    // A key that is revoked meanwhile learns nothing more.
    let request = v1::RevokeApiKeyRequest { api_key_id: key_id };
    broker.admin().revoke_api_key(request).await.unwrap();
    let ended = in_time(news.message()).await.unwrap_err();
    assert_eq!(reason(&ended), "BAD_CREDENTIALS");
}

/// From now on: nothing of before.
#[tokio::test]
async fn from_now_on() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let request = v1::WatchAuditRequest::default();
    let news = broker.admin().watch_audit(request).await.unwrap();
    let mut news = news.into_inner();
    let first = in_time(news.message()).await.unwrap().unwrap();
    assert_eq!(first.entries, []);
    broker.ticket(&tenant, "tom").await;
    let told = in_time(news.message()).await.unwrap().unwrap();
    assert_eq!(actions(&told.entries), ["ticket.created"]);
}

/// An organisation's export is verified by the command alone, and shows nothing
/// of another's.
#[tokio::test]
async fn an_export_is_verified_without_the_broker() {
    let mut world = TwoTenants::start().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = &world.broker;
    let file = export(broker, &world.own.admin.0, dir.path(), "own").await;
    let (code, said, error) = verify(broker, &file).await;
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
    assert!(said.starts_with("Whole: "), "{said}");
    assert!(!said.contains("anybody could"), "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    let (mine, _) = list(&mut admin_with(broker, &world.own.admin.0), whole()).await;
    let mut entries = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["type"] == "entry" {
            assert_eq!(line["object"], mine[entries].object);
            entries += 1;
        }
    }
    assert_eq!(entries, mine.len());
    for secret in [
        &world.foreign.tenant.id,
        &world.foreign.tenant.api_key_id,
        &world.foreign.challenge.challenge_id,
    ] {
        assert!(!text.contains(secret.as_str()), "{secret}");
    }
    // The foreign entries' contents are not there as bytes either.
    let (theirs, _) = list(&mut admin_with(broker, &world.foreign.admin.0), whole()).await;
    for entry in theirs {
        use base64::Engine as _;
        let content = base64::engine::general_purpose::STANDARD.encode(&entry.content);
        assert!(!text.contains(&content));
    }

    // With the keys in the file it says so; with a fingerprint it does not.
    let path = file.to_str().unwrap();
    let offline = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            command("", "http://127.0.0.1:1", &arguments).await
        }
    };
    let (code, said, _) = offline(&["verify", path]).await;
    assert_eq!(code, 0);
    assert!(said.contains("anybody could have put them"), "{said}");
    let mut admin = broker.admin();
    let keys = admin.list_signing_keys(v1::ListSigningKeysRequest {});
    let key_id = keys.await.unwrap().into_inner().keys[0].key_id.clone();
    let (code, said, _) = offline(&["verify", path, "--key-fingerprint", &key_id]).await;
    assert_eq!(code, 0);
    assert!(!said.contains("anybody"), "{said}");
    let (code, _, error) = offline(&["verify", path, "--key-fingerprint", "another"]).await;
    assert_eq!(code, 1);
    assert!(error.contains("none of the keys"), "{error}");

    // One entry altered, one dropped: named, and exit code 1.
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("challenge.created"))
        .unwrap();
    let sequence =
        serde_json::from_str::<serde_json::Value>(lines[at]).unwrap()["sequence"].clone();
    let altered = lines[at].replace(r#""user_id":"tom""#, r#""user_id":"ann""#);
    lines[at] = &altered;
    let tampered = dir.path().join("tampered");
    std::fs::write(&tampered, lines.join("\n")).unwrap();
    let (code, said, error) = verify(broker, &tampered).await;
    assert_eq!(code, 1);
    let wanted = format!("line {}: entry {sequence} says another user_id", at + 1);
    assert!(said.starts_with(&wanted), "{said}");
    assert!(error.contains("is not as the broker wrote it"), "{error}");
    lines.remove(at);
    std::fs::write(&tampered, lines.join("\n")).unwrap();
    let (code, said, _) = verify(broker, &tampered).await;
    assert_eq!(code, 1);
    assert!(
        said.contains(&format!("entry {sequence} is missing")),
        "{said}"
    );

    // Of all, before and after a restart and a new signing key.
    let lead_time = Some(prost_types::Duration::default());
    let rotate = v1::RotateSigningKeyRequest { lead_time };
    broker.admin().rotate_signing_key(rotate).await.unwrap();
    world.broker.restart().await;
    let broker = &world.broker;
    let key = broker.admin_key.clone();
    let all = export(broker, &key, dir.path(), "all").await;
    let (code, said, error) = verify(broker, &all).await;
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
    assert!(said.contains(" 0 as digests"), "{said}");
}

/// Heads are signed by and by, so that what was exported can't be cut short.
#[tokio::test]
async fn heads_are_signed_now_and_then() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let heads = || async {
        let request = v1::ExportAuditRequest::default();
        let answers = broker.admin().export_audit(request).await.unwrap();
        let mut answers = answers.into_inner();
        let mut found = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            for line in answer.lines {
                if let Some(v1::audit_line::Line::Head(head)) = line.line {
                    use prost::Message as _;
                    let body = v1::AuditHead::decode(head.body.as_ref()).unwrap();
                    found.push(body.sequence);
                }
            }
        }
        found
    };
    // After an hour, wherever the chain stands.
    let (all, _) = list(&mut broker.admin(), whole()).await;
    let after_an_hour = all.len() as u64;
    broker.pass(Duration::from_secs(3600));
    // After a thousand entries, without an hour. The head of the hour is signed
    // once time has passed, and not waited for; so is this one.
    let mut made = after_an_hour;
    while made < 1000 {
        broker.ask(&tenant, "nobody").await;
        made += 1;
    }
    in_time(async {
        loop {
            let found = heads().await;
            assert_eq!(found.last(), Some(&1000));
            if found.len() >= 2 {
                break;
            }
            broker.pass(Duration::from_secs(3600));
        }
    })
    .await;
}
