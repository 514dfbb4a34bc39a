use super::http_server::value;
use super::*;

fn rig(server: &Server, change: impl FnOnce(&mut WebhookConfig)) -> Rig {
    Rig::new(|secret| {
        let mut webhook = webhook_to(server.url.clone(), secret);
        change(&mut webhook);
        vec![("hook", SmsGatewayKind::Webhook(webhook))]
    })
}

#[tokio::test]
async fn a_query_says_exactly_what_was_meant() {
    let server = Server::start(|_, _| (202, "0: Accepted for delivery".into())).await;
    let rig = rig(&server, |webhook| {
        webhook.success_pattern = Some("0:*".into());
        webhook.headers = vec![("X-Key".into(), "k {secret} {id}".into())];
    });
    assert_eq!(rig.send().await, accepted_by("hook"));
    let told = &server.told()[0];
    let query = told.query();
    assert_eq!(told.method, Method::GET);
    assert_eq!(value(&query, "to"), NUMBER);
    assert_eq!(value(&query, "text"), rig.text().body);
    assert_eq!(value(&query, "pw"), SECRET);
    assert_eq!(
        told.headers["x-key"],
        format!("k {SECRET} {}", rig.text().id)
    );
    let dlr = value(&query, "dlr");
    let start = format!("{CALLBACK_URL}/sms/hook/status?reference=ref-1&mac=");
    assert!(
        dlr.starts_with(&start) && dlr.ends_with("&status=%d"),
        "{dlr}"
    );
}

#[tokio::test]
async fn bodies_are_encoded_by_their_type() {
    let server = Server::start(|_, _| (200, String::new())).await;
    let post = |content_type: &str, body: &str| {
        let (content_type, body) = (content_type.to_owned(), body.to_owned());
        rig(&server, move |webhook| {
            webhook.method = Method::POST;
            webhook.url = format!("{}/m", webhook.url.split("/send").next().unwrap());
            webhook.headers = vec![("Content-Type".into(), content_type)];
            webhook.body = Some(body);
        })
    };
    let json = post(
        "application/json",
        r#"{"to":["{to_digits}"],"text":"{text}","pw":"{secret}"}"#,
    );
    let odd = Text {
        body: "a \"quoted\" \\ line\n€".into(),
        ..json.text()
    };
    assert_eq!(json.gateways.send(&odd).await, accepted_by("hook"));
    let body: serde_json::Value = serde_json::from_slice(&server.told()[0].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"to": ["32470123456"], "text": odd.body, "pw": SECRET})
    );

    let form = post(
        "application/x-www-form-urlencoded",
        "to={to}&text={text}&r={reference}",
    );
    assert_eq!(form.gateways.send(&odd).await, accepted_by("hook"));
    let pairs = server.told()[1].form();
    assert_eq!(value(&pairs, "to"), NUMBER);
    assert_eq!(value(&pairs, "text"), odd.body);
    assert_eq!(value(&pairs, "r"), "ref-1");
}

#[tokio::test]
async fn every_status_has_its_outcome() {
    let table = [
        (200, "accepted"),
        (202, "accepted"),
        (302, "retry_after"),
        (400, "retry_after"),
        (401, "credential_rejected"),
        (403, "credential_rejected"),
        (429, "retry_after"),
        (500, "retry_after"),
        (503, "retry_after"),
        (504, "unknown"),
    ];
    for (status, expected) in table {
        let server = Server::start(move |_, _| (status, NUMBER.to_owned())).await;
        let rig = rig(&server, |_| {});
        let outcome = rig.send().await;
        assert_eq!(outcome.name(), expected, "{status} {outcome:?}");
        assert!(!format!("{outcome:?}").contains("470123"), "{outcome:?}");
        assert_eq!(
            rig.gateways.alarms().len(),
            usize::from(expected == "credential_rejected")
        );
    }
}

#[tokio::test]
async fn an_answer_that_does_not_look_right_is_not_taken() {
    let server = Server::start(|_, _| (200, "ERR: no credit".into())).await;
    let rig = rig(&server, |webhook| {
        webhook.success_pattern = Some("OK*".into())
    });
    assert_eq!(rig.send().await.name(), "retry_after");
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_unknown() {
    let server = Server::start(|_, _| (0, String::new())).await;
    let rig = rig(&server, |_| {});
    assert_eq!(rig.send().await.name(), "unknown");
    assert_eq!(server.told().len(), 1);
    let nobody = Rig::new(|secret| {
        let webhook = webhook_to("http://127.0.0.1:1".into(), secret);
        vec![("hook", SmsGatewayKind::Webhook(webhook))]
    });
    assert_eq!(nobody.send().await.name(), "retry_after");
}

/// The status address the gateway was given, with `%d` filled in.
async fn status_path(rig: &Rig, server: &Server, state: &str) -> String {
    rig.send().await;
    let dlr = value(&server.told().last().unwrap().query(), "dlr");
    dlr.strip_prefix(CALLBACK_URL).unwrap().replace("%d", state)
}

fn get(path_and_query: &str) -> Told {
    Told {
        method: Method::GET,
        path_and_query: path_and_query.to_owned(),
        headers: no_headers(),
        body: Vec::new(),
    }
}

#[tokio::test]
async fn kannels_dlr_mask_is_understood() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let rig = rig(&server, |_| {});
    for state in ["8", "4", "64", "1", "2", "16"] {
        let path = status_path(&rig, &server, state).await;
        assert_eq!(rig.callback("hook", &get(&path)), Ok(()));
    }
    let failed = |word: &str| TextState::Failed {
        reason: format!("status {word}"),
    };
    let expected = [
        TextState::Sent,
        TextState::Sent,
        TextState::Delivered,
        failed("2"),
        failed("16"),
    ];
    assert_eq!(rig.states(), expected);
    assert_eq!(rig.receipts.lock()[0].gateway, "hook");
}

#[tokio::test]
async fn states_also_come_in_bodies() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let rig = rig(&server, |webhook| {
        webhook.url = webhook.url.replace("%26status%3D%25d", "");
        webhook.status.delivered = vec!["DELIVERED".into()];
    });
    let path = status_path(&rig, &server, "").await;
    for (content_type, body) in [
        ("application/json", r#"{"status":"delivered"}"#),
        ("application/x-www-form-urlencoded", "a=b&status=DELIVERED"),
    ] {
        let mut told = get(&path);
        told.method = Method::POST;
        told.headers
            .insert("content-type", content_type.parse().unwrap());
        told.body = body.as_bytes().to_vec();
        assert_eq!(rig.callback("hook", &told), Ok(()), "{content_type}");
    }
    assert_eq!(rig.states(), [TextState::Delivered, TextState::Delivered]);
    assert_eq!(
        rig.callback("hook", &get(&path)),
        Err(CallbackRefused::Malformed)
    );
}

#[tokio::test]
async fn a_status_address_can_not_be_forged() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let rig = rig(&server, |_| {});
    let path = status_path(&rig, &server, "1").await;
    let mac = value(&get(&path).query(), "mac");
    let flipped = if mac.starts_with('A') { "B" } else { "A" };
    for forged in [
        path.replace("ref-1", "ref-2"),
        path.replace(&format!("&mac={mac}"), ""),
        path.replace(&mac, ""),
        path.replace(&mac, &format!("{flipped}{}", &mac[1..])),
        path.replace(&mac, &mac[..20]),
        format!("{path}&reference=ref-1"),
        format!("{path}&mac={mac}"),
    ] {
        let refused = rig.callback("hook", &get(&forged));
        assert_eq!(refused, Err(CallbackRefused::Forged), "{forged}");
    }
    let unknown = rig.callback("other", &get(&path));
    assert_eq!(unknown, Err(CallbackRefused::UnknownGateway));
    assert_eq!(rig.states(), []);
    assert_eq!(rig.callback("hook", &get(&path)), Ok(()));
    assert_eq!(rig.states(), [TextState::Delivered]);
}

#[tokio::test]
async fn the_proof_is_of_one_gateway_and_outlives_the_process() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let two = || {
        Rig::new(|secret| {
            let webhook = webhook_to(server.url.clone(), secret);
            vec![
                ("hook", SmsGatewayKind::Webhook(webhook.clone())),
                ("other", SmsGatewayKind::Webhook(webhook)),
            ]
        })
    };
    let (first, second) = (two(), two());
    let path = status_path(&first, &server, "1").await;
    assert_eq!(second.callback("hook", &get(&path)), Ok(()));
    assert_eq!(
        second.callback("other", &get(&path)),
        Err(CallbackRefused::Forged)
    );
}

#[tokio::test]
async fn without_a_reference_no_receipt_is_asked_for() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let rig = rig(&server, |_| {});
    let text = Text {
        reference: String::new(),
        ..rig.text()
    };
    assert_eq!(rig.gateways.send(&text).await, accepted_by("hook"));
    assert_eq!(value(&server.told()[0].query(), "dlr"), "&status=%d");
}

#[tokio::test]
async fn a_replaced_secret_is_taken_over() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let rig = rig(&server, |_| {});
    rig.send().await;
    std::fs::write(rig.dir.path().join("secret"), "newer").unwrap();
    rig.advance_s(5);
    rig.send().await;
    assert_eq!(value(&server.told()[1].query(), "pw"), "newer");
}
