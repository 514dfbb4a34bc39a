use super::*;

/// Two webhooks, the first answering by a script.
async fn pair(
    script: impl Fn(usize, &Told) -> (u16, String) + Send + Sync + 'static,
) -> (Server, Server, Rig) {
    let first = Server::start(script).await;
    let second = Server::start(|_, _| (202, String::new())).await;
    let rig = Rig::new(|secret| {
        vec![
            (
                "first",
                SmsGatewayKind::Twilio(twilio::config(first.url.clone(), secret.clone())),
            ),
            (
                "second",
                SmsGatewayKind::Webhook(webhook_to(second.url.clone(), secret)),
            ),
        ]
    });
    (first, second, rig)
}

fn refused(status: u16, code: u32) -> (u16, String) {
    (status, format!(r#"{{"code":{code}}}"#))
}

#[tokio::test]
async fn a_gateway_that_does_not_take_it_is_passed_over_at_once() {
    for (status, code) in [(429, 20429), (500, 20500), (401, 20003), (400, 99999)] {
        let (first, second, rig) = pair(move |_, _| refused(status, code)).await;
        assert_eq!(rig.send().await, accepted_by("second"), "{status} {code}");
        assert_eq!((first.told().len(), second.told().len()), (1, 1));
    }
    let (_first, _second, rig) = pair(|_, _| twilio::taken()).await;
    assert_eq!(rig.send().await, accepted_by("first"));
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_passed_over() {
    let second = Server::start(|_, _| (202, String::new())).await;
    let rig = Rig::new(|secret| {
        let nobody = webhook_to("http://127.0.0.1:1".into(), secret.clone());
        vec![
            ("first", SmsGatewayKind::Webhook(nobody)),
            (
                "second",
                SmsGatewayKind::Webhook(webhook_to(second.url.clone(), secret)),
            ),
        ]
    });
    assert_eq!(rig.send().await, accepted_by("second"));
}

#[tokio::test]
async fn a_bad_number_and_an_unknown_end_stop() {
    let (_first, second, rig) = pair(|_, _| refused(400, 21211)).await;
    let rejected = TextOutcome::Rejected {
        reason: "first: twilio error 21211".to_owned(),
    };
    assert_eq!(rig.send().await, rejected);
    assert_eq!(second.told().len(), 0);

    let (_first, second, rig) = pair(|_, _| (0, String::new())).await;
    let outcome = rig.send().await;
    assert!(
        matches!(&outcome, TextOutcome::Unknown { gateway, .. } if gateway == "first"),
        "{outcome:?}"
    );
    assert_eq!(second.told().len(), 0);
}

#[tokio::test]
async fn the_breaker_spares_a_dead_gateway_and_probes_it_once() {
    let (first, second, rig) = pair(|n, _| {
        if n < 6 {
            refused(503, 20503)
        } else {
            twilio::taken()
        }
    })
    .await;
    for _ in 0..8 {
        assert_eq!(rig.send().await, accepted_by("second"));
    }
    // Five failures open it.
    assert_eq!((first.told().len(), second.told().len()), (5, 8));
    rig.advance_s(3);
    assert_eq!(rig.send().await, accepted_by("second"));
    assert_eq!(first.told().len(), 6);
    rig.advance_s(5);
    assert_eq!(rig.send().await, accepted_by("first"));
    assert_eq!(rig.send().await, accepted_by("first"));
}

#[tokio::test]
async fn when_nobody_takes_it_all_reasons_are_told() {
    let first = Server::start(|_, _| (503, String::new())).await;
    let second = Server::start(|_, _| (403, String::new())).await;
    let rig = Rig::new(|secret| {
        vec![
            (
                "first",
                SmsGatewayKind::Webhook(webhook_to(first.url.clone(), secret.clone())),
            ),
            (
                "second",
                SmsGatewayKind::Webhook(webhook_to(second.url.clone(), secret)),
            ),
        ]
    });
    let outcome = TextOutcome::RetryAfter {
        reason: "first: status 503; second: status 403".to_owned(),
        after: None,
    };
    assert_eq!(rig.send().await, outcome);
    let alarms = rig.gateways.alarms();
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].gateway.name(), "second");
}

/// Every place in flight is taken by a text that gets no answer.
#[tokio::test]
async fn a_slow_gateway_that_is_full_is_passed_over() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let second = Server::start(|_, _| (202, String::new())).await;
    let rig = Arc::new(Rig::new(|secret| {
        let first = webhook_to(url, secret.clone());
        let second = webhook_to(second.url.clone(), secret);
        vec![
            ("first", SmsGatewayKind::Webhook(first)),
            ("second", SmsGatewayKind::Webhook(second)),
        ]
    }));
    let mut stuck = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..4 {
        let rig = Arc::clone(&rig);
        stuck.spawn(async move { rig.send().await });
        held.push(silent.accept().await.unwrap());
    }
    assert_eq!(rig.send().await, accepted_by("second"));
    assert_eq!(stuck.try_join_next().map(|ended| ended.unwrap()), None);
}
