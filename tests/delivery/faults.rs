//! Connections that break, gateways that are down or want to be left alone.

use device_sim::fault::Fault;

use super::*;

const BOTH: [(PushGateway, &str); 2] = [(PushGateway::Apns, "apns"), (PushGateway::Fcm, "fcm")];

/// APNs allows one stream until its first authenticated answer; 200 cold
/// callers must all get through, on one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_concurrent_sends_get_past_the_single_stream() {
    let rig = Rig::start().await;
    let outcomes = rig.send_many(PushGateway::Apns, 200).await;
    assert_all_accepted(&outcomes);
    let counters = rig.gateways.apns().counters();
    assert_eq!(counters.outcomes["200"], 200);
    assert_eq!(counters.refused_streams, 0);
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_under_the_same_id() {
    let rig = Rig::start().await;
    let faults = [
        Fault::RefuseStream,
        Fault::Goaway { code: 0 },
        Fault::Goaway { code: 7 },
        Fault::Disconnect,
        Fault::Reset { processed: false },
    ];
    for (gateway, name) in BOTH {
        for fault in &faults {
            let target = rig.phone(gateway);
            let token = target.token.clone();
            let push = rig.push(target);
            rig.gateways
                .faults(name)
                .unwrap()
                .schedule([fault.clone(), fault.clone()]);
            let mut phone = rig.gateways.devices().connect(&token).unwrap();
            let outcome = rig.senders.send(&push).await;
            assert_eq!(outcome, Outcome::Accepted, "{name} {fault:?}");
            assert!(phone.recv().await.is_some());
            assert!(phone.try_recv().is_none(), "delivered once");
            let id = push.push_id.to_string();
            let same_id = rig
                .gateways
                .received()
                .iter()
                .filter(|a| a.id == id)
                .count();
            if gateway == PushGateway::Apns {
                assert_eq!(same_id, 3, "{fault:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_reset_after_processing_is_unknown_when_it_goes_on() {
    let rig = Rig::start().await;
    for (gateway, name) in BOTH {
        let fault = Fault::Reset { processed: true };
        let three = [fault.clone(), fault.clone(), fault];
        rig.gateways.faults(name).unwrap().schedule(three);
        let target = rig.phone(gateway);
        let mut phone = rig.gateways.devices().connect(&target.token).unwrap();
        let outcome = rig.send_to(target).await;
        assert_eq!(outcome.name(), "unknown", "{outcome:?}");
        assert!(phone.recv().await.is_some(), "and indeed it was delivered");
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_not_waited_for_beyond_the_expiry() {
    let rig = Rig::start().await;
    for (gateway, name) in BOTH {
        // One push before, so that no connection has to be made in the time left.
        assert_eq!(rig.send(gateway).await, Outcome::Accepted);
        let two = [Fault::Unavailable { retry_after: None }, Fault::Stall];
        rig.gateways.faults(name).unwrap().schedule(two);
        assert_eq!(rig.send(gateway).await.name(), "server_error");
        let mut push = rig.push(rig.phone(gateway));
        push.expire_at_ms = rig.clock.load(Ordering::SeqCst) + 300;
        let outcome = rig.senders.send(&push).await;
        let expected = match gateway {
            // APNs' answer to an accepted push has no body to wait for.
            PushGateway::Apns => "accepted",
            PushGateway::Fcm => "unknown",
        };
        assert_eq!(outcome.name(), expected, "{outcome:?}");
        assert_eq!(rig.send(gateway).await, Outcome::Accepted);
    }
}

#[tokio::test]
async fn a_gateway_that_is_down_opens_its_breaker_and_no_other() {
    let rig = Rig::start().await;
    for (gateway, name) in BOTH {
        let other = match gateway {
            PushGateway::Apns => PushGateway::Fcm,
            PushGateway::Fcm => PushGateway::Apns,
        };
        assert_eq!(rig.send(gateway).await, Outcome::Accepted);
        rig.gateways.faults(name).unwrap().set_down(true);
        let mut names = Vec::new();
        for _ in 0..6 {
            names.push(rig.send(gateway).await.name());
        }
        assert_eq!(names.pop(), Some("retry_after"));
        let failed = |name: &&str| matches!(*name, "server_error" | "unknown");
        assert!(names.iter().all(failed), "{names:?}");
        assert_eq!(rig.send(other).await, Outcome::Accepted);

        rig.gateways.faults(name).unwrap().set_down(false);
        assert_eq!(rig.send(gateway).await.name(), "retry_after");
        rig.advance_s(2);
        assert_eq!(rig.send(gateway).await, Outcome::Accepted);
        assert_eq!(rig.send(gateway).await, Outcome::Accepted);
    }
    assert_eq!(rig.senders.alarms(), []);
}

#[tokio::test]
async fn retry_after_is_held_to_the_second() {
    let rig = Rig::start().await;
    for (gateway, name) in BOTH {
        let retry_after = Some(9);
        for fault in [
            Fault::TooManyRequests { retry_after },
            Fault::Unavailable { retry_after },
        ] {
            rig.gateways.faults(name).unwrap().schedule([fault]);
            let outcome = rig.send(gateway).await;
            let nine = Some(Duration::from_secs(9));
            assert!(
                matches!(
                    &outcome,
                    Outcome::RetryAfter { after, .. } | Outcome::ServerError { after, .. }
                        if *after == nine
                ),
                "{outcome:?}"
            );
            rig.advance_s(8);
            let requests = rig.gateways.received().len();
            let expected = Outcome::RetryAfter {
                reason: "breaker open".into(),
                after: Some(Duration::from_secs(1)),
            };
            assert_eq!(rig.send(gateway).await, expected);
            assert_eq!(rig.gateways.received().len(), requests, "nothing was sent");
            rig.advance_s(1);
            assert_eq!(rig.send(gateway).await, Outcome::Accepted);
        }
    }
}
