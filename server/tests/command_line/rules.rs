//! `countersign policy` and `countersign device` with a real broker.

use serde_json::json;

use super::real::Real;

/// After the name of a user of whom nothing is known.
const DOUBT: &str =
    ". Nothing is registered for this user: is the id spelled as in the directory?\n";

#[tokio::test]
async fn rules_are_read_and_changed() {
    let broker = Real::start().await;
    let made = broker
        .json(&[
            "tenant",
            "create",
            "Eagle",
            "--country",
            "BE",
            "--preset",
            "nist",
        ])
        .await;
    let tenant = made[0]["tenant_id"].as_str().unwrap();
    // The only organisation need not be named.
    let policy = broker.json(&["policy", "get"]).await.remove(0);
    assert_eq!(policy["version"], 1);
    assert_eq!(policy["number_digits"], 6);
    assert_eq!(policy["number_matching"], "always");
    assert_eq!(policy["methods"]["sms"], false);
    assert_eq!(policy["codes"]["fallback_after"], "0s");
    assert_eq!(policy["sms"]["countries"], json!(["BE"]));
    assert_eq!(policy["enrollment"]["start_time"], json!(null));
    assert_eq!(made[0]["policy"], policy);

    let changed = broker
        .text(&[
            "policy",
            "set",
            "--tenant",
            tenant,
            "browser_days=7",
            "sms.countries=BE,NL",
            "codes.ttl=2m",
            "enrollment.start_time=2026-12-01T08:00:00Z",
        ])
        .await;
    assert_eq!(
        changed,
        "Changed, from now on: version 2\n\
         \x20 enrollment.start_time - -> 2026-12-01T08:00:00Z\n\
         \x20 codes.ttl 300s -> 120s\n\
         \x20 sms.countries BE -> BE,NL\n\
         \x20 browser_days 0 -> 7\n"
    );
    let back = broker.text(&["policy", "set", "codes.ttl="]).await;
    assert!(
        back.ends_with("version 3\n  codes.ttl 120s -> 300s\n"),
        "{back}"
    );
    let same = broker.text(&["policy", "set", "browser_days=7"]).await;
    assert_eq!(same, "Nothing to change: version 3\n");
    assert_eq!(
        broker
            .text(&["policy", "get", "codes", "browser_days"])
            .await,
        "FIELD                 VALUE\n\
         codes.digits          6\n\
         codes.ttl             300s\n\
         codes.max_wrong       5\n\
         codes.max_sends       5\n\
         codes.fallback_after  never\n\
         browser_days          7\n"
    );

    let stale = ["policy", "apply", "standard", "--expected-version", "2"];
    let (code, _, stderr) = broker.run(&stale).await;
    assert_eq!(code, 1);
    assert!(
        stderr.ends_with("version 3 [VERSION_CHANGED]\n"),
        "{stderr}"
    );
    let applied = broker.text(&["policy", "apply", "standard"]).await;
    assert!(
        applied.contains("version 4\n  number_digits 6 -> 2\n"),
        "{applied}"
    );

    let history = broker.json(&["policy", "history"]).await;
    let versions: Vec<_> = history.iter().map(|one| &one["version"]).collect();
    assert_eq!(versions, [4, 3, 2, 1]);
    assert_eq!(history[3]["policy"], policy);
    let table = broker.text(&["policy", "history"]).await;
    let third = table.lines().nth(2).unwrap();
    assert!(
        third.starts_with("3 ") && third.ends_with("codes.ttl 120s -> 300s"),
        "{table}"
    );

    let shown = broker.text(&["tenant", "show", tenant]).await;
    let rows: Vec<_> = shown
        .lines()
        .map(|row| {
            let cells = row.split("  ").map(|cell| cell.trim().to_owned());
            cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
        })
        .collect();
    for row in [["policy version", "4"], ["codes.fallback_after", "30s"]] {
        assert!(rows.contains(&row.map(str::to_owned).to_vec()), "{shown}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let broker = Real::start().await;
    let made = broker.json(&["tenant", "create", "Eagle"]).await;
    let (code, stdout, stderr) = broker
        .run(&["policy", "set", "number_digits=7", "language=tlh"])
        .await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(
        stderr,
        "countersign: policy.number_digits: must be 2 to 6; policy.language: must be nl, fr, en \
         or de [INVALID_FIELD]\n"
    );
    for (wrong, told) in [
        ("browser_day=1", "did you mean browser_days?\n"),
        ("browser_days=x", "browser_days: must be a number\n"),
    ] {
        let (code, _, stderr) = broker.run(&["policy", "set", wrong]).await;
        assert_eq!(code, 2);
        assert!(stderr.ends_with(told), "{stderr}");
    }
    let (code, _, stderr) = broker
        .run(&["tenant", "create", "X", "--country", "UK"])
        .await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("country: must be an ISO 3166-1"),
        "{stderr}"
    );

    // A key of one organisation needs no name for it, one of the installation
    // does as soon as there are two.
    let tenant = made[0]["tenant_id"].as_str().unwrap();
    let own = broker
        .json(&["key", "create", "--role", "admin", "--tenant", tenant])
        .await;
    let other = broker.json(&["tenant", "create", "Other"]).await;
    let (code, _, stderr) = broker.run(&["policy", "get"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("--tenant is needed"), "{stderr}");
    let own = own[0]["api_key"].as_str().unwrap();
    let (code, stdout, _) = broker
        .run_as(own, &["policy", "set", "browser_days=3"])
        .await;
    assert_eq!((code, stdout.contains("version 2")), (0, true));
    let other = other[0]["tenant_id"].as_str().unwrap();
    let (code, _, stderr) = broker
        .run_as(own, &["policy", "get", "--tenant", other])
        .await;
    assert_eq!(code, 1);
    assert_eq!(stderr, "countersign: tenant not found [NOT_FOUND]\n");
}

#[tokio::test]
async fn presets_are_explained() {
    let broker = Real::start().await;
    let text = broker.text(&["policy", "presets"]).await;
    assert!(text.starts_with("standard: "), "{text}");
    let hardened = text.find("phishing-hardened: ").unwrap();
    assert!(
        text[hardened..].contains("\n  methods.sms yes -> no\n"),
        "{text}"
    );
    let names: Vec<_> = broker
        .json(&["policy", "presets"])
        .await
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(
        names,
        ["standard", "nist", "phishing-hardened", "low-friction"]
    );
}

#[tokio::test]
async fn what_cannot_be_undone_wants_a_yes() {
    let broker = Real::start().await;
    let tenant = broker.json(&["tenant", "create", "Eagle"]).await;
    let tenant = tenant[0]["tenant_id"].as_str().unwrap();
    // There is no terminal here.
    let (code, _, stderr) = broker.run(&["device", "remove", tenant]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("confirm it with --yes"), "{stderr}");
    let (code, _, stderr) = broker.run(&["device", "remove", tenant, "--yes"]).await;
    assert_eq!(code, 1);
    assert_eq!(stderr, "countersign: device not found [NOT_FOUND]\n");
    assert_eq!(
        broker.text(&["device", "list", "tom"]).await,
        "DEVICE ID  NAME  PLATFORM  KEY  REGISTERED  LAST USED\n"
    );
}

#[tokio::test]
async fn a_key_is_revoked_by_its_id_or_as_a_whole_and_never_shown() {
    let broker = Real::start().await;
    for whole in [false, true] {
        let made = broker
            .json(&["key", "create", "--role", "admin", "--installation"])
            .await;
        let key = made[0]["api_key"].as_str().unwrap();
        let id = made[0]["api_key_id"].as_str().unwrap();
        let named = if whole { key } else { id };
        let (code, stdout, stderr) = broker.run(&["key", "revoke", named]).await;
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(!stderr.contains(key), "{stderr}");
        let done = broker.text(&["key", "revoke", named, "--yes"]).await;
        assert_eq!(done, format!("Revoked {id}\n"));
        let (code, _, _) = broker.run_as(key, &["tenant", "list"]).await;
        assert_eq!(code, 77);
    }
    for odd in ["csk_secret", "csk__secret"] {
        let (code, _, stderr) = broker.run(&["key", "revoke", odd, "--yes"]).await;
        assert_eq!(code, 2);
        assert!(
            !stderr.contains("secret\n") && !stderr.contains(odd),
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn people_are_locked_unlocked_and_reset() {
    let broker = Real::start().await;
    broker.json(&["tenant", "create", "Eagle"]).await;
    let user = broker.json(&["user", "show", "tom"]).await.remove(0);
    assert_eq!(
        user,
        json!({
            "user_id": "tom", "lock": null, "failures": 0, "next_guess_time": null,
            "next_code_time": null, "prompts": 0, "authenticators": [],
            "listed": false, "snoozes": 0,
        })
    );
    assert_eq!(
        broker.text(&["user", "lock", "tom"]).await,
        format!("Locked tom{DOUBT}")
    );
    let user = broker.json(&["user", "show", "tom"]).await.remove(0);
    assert_eq!(user["lock"]["reason"], "operator");
    let text = broker.text(&["user", "show", "tom"]).await;
    assert!(text.contains(": operator\n"), "{text}");
    assert_eq!(
        broker.text(&["user", "unlock", "tom"]).await,
        format!("Unlocked tom{DOUBT}")
    );
    let user = broker.json(&["user", "show", "tom"]).await.remove(0);
    assert_eq!(user["lock"], json!(null));
    for (command, done, listed) in [
        ("enlist", "Enlisted tom", true),
        ("delist", "Delisted tom", false),
    ] {
        let told = broker.text(&["user", command, "tom"]).await;
        assert_eq!(told, format!("{done}{DOUBT}"));
        let user = broker.json(&["user", "show", "tom"]).await.remove(0);
        assert_eq!(user["listed"], listed);
    }
    let (code, _, stderr) = broker.run(&["user", "reset", "tom"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("confirm it with --yes"), "{stderr}");
    let reset = broker.text(&["user", "reset", "tom", "--yes"]).await;
    assert_eq!(reset, "Reset tom\n");
}
