//! Text messages on their way: each sent once, over restarts and past gateways
//! that are down, and what the networks say of them.

use std::time::Duration;

use countersign_proto::v1::{
    self, ChallengeState as S, DecisionReason as R, DeliveryState as D, Method,
};
use countersign_tests::{
    codes::code_in,
    end,
    push::{PushWorld, patiently},
    sign_in,
};
use device_sim::gateway::{Delivery, SmsGateway, TextMessage};

use super::{NUMBER, generous, seconds, texted};

/// One request, however often and from however many sides it comes: one text.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_is_repeated_texts_once() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    let request = sign_in("tom");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut approvals = world.broker.approvals(&world.tenant);
        let request = request.clone();
        calls.spawn(async move { approvals.create_challenge(request).await });
    }
    let mut ids = std::collections::BTreeSet::new();
    for answer in calls.join_all().await {
        let asked = answer.unwrap().into_inner().challenge.unwrap();
        assert_eq!(asked.method(), Method::Sms);
        ids.insert(asked.challenge_id);
    }
    assert_eq!(ids.len(), 1);
    let id = ids.pop_first().unwrap();
    let code = world.code_after(NUMBER, seq).await;
    let decided = world.verify(&id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    // A text of another sign-in would be the next.
    assert_eq!(world.inbox().last_seq(), seq + 1);
}

/// What was stored and not sent is sent after a restart; what was sent is good
/// after one.
#[tokio::test]
async fn codes_survive_a_restart() {
    let mut world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    for gateway in ["webhook", "twilio"] {
        world.gateways.faults(gateway).unwrap().set_down(true);
    }
    let asked = world.ask("tom").await;
    let id = &asked.challenge_id;
    until_tried(&world, "retry_after").await;
    world.broker.restart().await;
    for gateway in ["webhook", "twilio"] {
        world.gateways.faults(gateway).unwrap().set_down(false);
    }
    world.broker.pass(seconds(5));
    let code = world.code_after(NUMBER, seq).await;
    world
        .until(id, "the text", |challenge| {
            texted(challenge).unwrap().state() >= D::Accepted
        })
        .await;
    world.broker.restart().await;
    let decided = world.verify(id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(world.inbox().last_seq(), seq + 1);
}

/// Waits until a text has been tried with this outcome.
async fn until_tried(world: &PushWorld, outcome: &str) {
    let labels = format!(r#"outcome="{outcome}",purpose="sign_in_code""#);
    patiently("a try", async {
        while world
            .broker
            .metric("countersign_texts_total", &labels)
            .await
            == 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// SIGKILL at any moment between the answer to the caller and the code's use: the
/// code in the inbox opens the sign-in. Where it was texted twice, since nobody
/// knows whether the first went out, both say the same.
#[tokio::test]
async fn codes_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, mut process) = PushWorld::start_process(dir.path()).await;
    world.rules(generous()).await;
    for pause in [0, 1, 3, 10, 30] {
        // A number of its own: what a kill interrupted may still come later.
        let (user, number) = (format!("tom{pause}"), format!("+324701235{pause:02}"));
        world.phone_number(&user, &number).await;
        let seq = world.inbox().last_seq();
        let asked = world.ask(&user).await;
        let id = &asked.challenge_id;
        // Not to wait for anything: so that the kill comes at another moment.
        tokio::time::sleep(Duration::from_millis(pause)).await;
        process.kill();
        process = world.start_again(dir.path());
        let code = world.code_after(&number, seq).await;
        world
            .until(id, "the text", |challenge| {
                texted(challenge).unwrap().state() >= D::Accepted
            })
            .await;
        process.kill();
        process = world.start_again(dir.path());
        let decided = world.verify(id, &code).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
        let mut texts = world.inbox().shown(&number);
        texts.retain(|text| text.seq > seq);
        // Once, and once more after each kill at most.
        assert!((1..=3).contains(&texts.len()), "{texts:?}");
        for text in texts {
            assert_eq!(code_in(&text.text), code);
        }
    }
    assert!(process.terminate().success());
}

/// Each gateway tells in its own way what became of a text.
#[tokio::test]
async fn what_networks_say_is_seen_by_who_follows() {
    for gateway in [SmsGateway::Webhook, SmsGateway::Twilio, SmsGateway::Smpp] {
        let world = PushWorld::start_texting(&[gateway]).await;
        world.rules(generous()).await;
        if gateway == SmsGateway::Smpp {
            patiently("a bind", async {
                while world.gateways.sms().smpp().sessions() == 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        let number = world.phone_number("tom", NUMBER).await;
        for (fate, state) in [
            (Delivery::Delivered, D::Fetched),
            (Delivery::Undelivered { error_code: 30003 }, D::Failed),
            (Delivery::Failed { error_code: 30007 }, D::Failed),
            (Delivery::Unconfirmed, D::Accepted),
        ] {
            world.inbox().set_delivery(NUMBER, Some(fate));
            let asked = world.ask("tom").await;
            let id = &asked.challenge_id;
            let told = world
                .until(id, &format!("{gateway:?} {fate:?}"), |challenge| {
                    texted(challenge).unwrap().state() == state
                })
                .await;
            let text = texted(&told).unwrap();
            assert_eq!(text.device_id, number);
            assert_eq!(text.reason.is_empty(), state != D::Failed, "{text:?}");
            assert_eq!(told.state(), S::Pending);
            let answered = |message: &TextMessage| {
                let receipts = &message.receipts;
                let good = |answer: &str| answer == "204" || answer == "ESME_ROK";
                receipts.iter().all(|receipt| good(&receipt.answer))
            };
            let messages = world.inbox().messages();
            assert!(messages.iter().all(answered), "{messages:?}");
        }
        // The network tried again, after all.
        let asked = world.ask("tom").await;
        assert_eq!(asked.state(), S::Pending);
    }
}

/// Whoever finds the address can say what they like: nothing changes.
#[tokio::test]
async fn a_forged_receipt_changes_nothing() {
    for gateway in [SmsGateway::Webhook, SmsGateway::Twilio] {
        let world = PushWorld::start_texting(&[gateway]).await;
        world.phone_number("tom", NUMBER).await;
        world.inbox().set_delivery(NUMBER, Some(Delivery::Never));
        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        let before = world
            .until(id, "the text", |challenge| {
                texted(challenge).unwrap().state() == D::Accepted
            })
            .await;
        let name = gateway.name();
        let arrived = world.gateways.received();
        let sent = arrived
            .iter()
            .rfind(|arrival| arrival.gateway == name)
            .unwrap();
        let field = if gateway == SmsGateway::Webhook {
            "status_url"
        } else {
            "StatusCallback"
        };
        let genuine = sent.payload[field].as_str().unwrap().to_owned();
        let (path, query) = genuine.split_once('?').unwrap();
        let path = path.split_once("/sms/").unwrap().1;
        let base = format!("http://{}/sms", world.broker.http);
        let client = reqwest::Client::new();
        let post = async |target: String, signature: &str| {
            client
                .post(target)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("x-twilio-signature", signature)
                .body("MessageStatus=failed&status=failed&ErrorCode=30003")
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        };
        // Without its proof, with one made up, with one letter changed.
        let made_up = "0RXVVkB0Bpu6tHqZz8kGKMzHsDo=";
        assert_eq!(post(format!("{base}/{path}"), "").await, 403);
        assert_eq!(post(format!("{base}/{path}?{query}"), made_up).await, {
            // The webhook's address is itself the proof, and says the truth.
            if gateway == SmsGateway::Webhook {
                204
            } else {
                403
            }
        });
        for at in 0..query.len() {
            let mut changed = query.as_bytes().to_vec();
            if !changed[at].is_ascii_alphanumeric() {
                continue;
            }
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                post(format!("{base}/{path}?{changed}"), made_up).await,
                403,
                "{changed}"
            );
        }
        assert_eq!(post(format!("{base}/nobody/status?{query}"), "").await, 404);
        if gateway == SmsGateway::Webhook {
            world
                .until(id, "what the true address said", |challenge| {
                    texted(challenge).unwrap().state() == D::Failed
                })
                .await;
        } else {
            assert_eq!(world.broker.get(&world.tenant, id).await, before);
        }
    }
}

/// The first gateway is down, or refuses: the next one sends, once.
#[tokio::test]
async fn past_a_gateway_that_is_down() {
    let world =
        PushWorld::start_texting(&[SmsGateway::Smpp, SmsGateway::Webhook, SmsGateway::Twilio])
            .await;
    // The first can't be bound to.
    world.gateways.faults("smpp").unwrap().set_down(true);
    world.gateways.faults("webhook").unwrap().set_down(true);
    let seq = world.inbox().last_seq();
    world.phone_number("tom", NUMBER).await;
    assert_eq!(
        world.text_after(NUMBER, seq).await.gateway,
        SmsGateway::Twilio
    );
    world.gateways.faults("webhook").unwrap().set_down(false);
    let unavailable = device_sim::fault::Fault::Unavailable { retry_after: None };
    world
        .gateways
        .faults("twilio")
        .unwrap()
        .schedule([unavailable]);
    world.broker.pass(seconds(60));
    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let text = world.text_after(NUMBER, seq).await;
    assert_eq!(text.gateway, SmsGateway::Webhook);
    let decided = world
        .verify(&asked.challenge_id, &code_in(&text.text))
        .await
        .unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(world.inbox().last_seq(), seq + 1);
}

/// All are down for a moment: the text goes out when one is back.
#[tokio::test]
async fn a_text_waits_for_a_gateway() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    for gateway in ["webhook", "twilio"] {
        world.gateways.faults(gateway).unwrap().set_down(true);
    }
    let asked = world.ask("tom").await;
    until_tried(&world, "retry_after").await;
    for gateway in ["webhook", "twilio"] {
        world.gateways.faults(gateway).unwrap().set_down(false);
    }
    let still = world.broker.get(&world.tenant, &asked.challenge_id).await;
    assert_eq!(texted(&still).unwrap().state(), D::Queued);
    world.broker.pass(seconds(5));
    let code = world.code_after(NUMBER, seq).await;
    let decided = world.verify(&asked.challenge_id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
}

/// A text of one sign-in, in the user's language, in one segment, the code first.
#[tokio::test]
async fn a_text_as_it_is_shown() {
    let world = PushWorld::start().await;
    let sms = v1::SmsPolicy {
        origin_host: Some("login.example.be".into()),
        ..v1::SmsPolicy::default()
    };
    world
        .rules(v1::TenantPolicy {
            sms: Some(sms),
            ..v1::TenantPolicy::default()
        })
        .await;
    world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    world.ask("tom").await;
    let text = world.text_after(NUMBER, seq).await;
    let code = code_in(&text.text);
    assert_eq!(code.len(), 6);
    assert_eq!(text.segments, 1);
    assert!(text.text.contains("Eagle IT BVBA"), "{}", text.text);
    let last = text.text.lines().last().unwrap();
    assert_eq!(last, format!("@login.example.be #{code}"));
}
