//! Where nobody can be reached or nobody answers, a text goes out by itself.

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, DeliveryState as D, Method,
};
use countersign_tests::{
    end, in_time,
    push::{PushWorld, delivery, patiently},
};
use device_sim::{
    fault::Fault,
    gateway::{TextMessage, Vendor},
};
use tonic::Code;

use super::{MASKED, NUMBER, codes_shown, generous, outcomes, seconds, texted, until_method, why};

/// A user with a number and no phone to push to.
#[tokio::test]
async fn without_a_device_the_code_is_texted_at_once() {
    let world = PushWorld::start().await;
    let number = world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    assert_eq!((asked.state(), asked.method()), (S::Pending, Method::Sms));
    assert_eq!(asked.number_to_match, "");
    let code_delivery = asked.code_delivery.clone().unwrap();
    assert_eq!(code_delivery.masked_destination, MASKED);
    assert_eq!(code_delivery.attempts_left, 5);
    let text = texted(&asked).unwrap();
    assert_eq!((text.state(), text.device_id), (D::Queued, number.clone()));
    // Long enough to find the phone and to type.
    let life = asked.expire_time.unwrap().seconds - asked.create_time.unwrap().seconds;
    assert_eq!(life, 300);

    let code = world.code_after(NUMBER, seq).await;
    let arrived = world
        .until(&asked.challenge_id, "the network's receipt", |challenge| {
            texted(challenge).unwrap().state() == D::Fetched
        })
        .await;
    assert_eq!(arrived.state(), S::Pending);
    let decided = world.verify(&asked.challenge_id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(decided.method(), Method::Sms);
    assert_eq!(decided.decided_by_authenticator_id, number);
    assert_eq!(decided.decided_by_device_id, "");
    assert_eq!(codes_shown(&world), 2, "and the first one");
}

/// Every token of the user's is dead: who waits is told at once, whether by the
/// stream or by the long poll.
#[tokio::test]
async fn dead_tokens_turn_into_a_text() {
    for vendors in [
        &[Vendor::Apns][..],
        &[Vendor::Fcm],
        &[Vendor::Apns, Vendor::Fcm],
    ] {
        let world = PushWorld::start().await;
        world.phone_number("tom", NUMBER).await;
        for vendor in vendors {
            let phone = world.phone(*vendor, "tom").await;
            world.broker.pass(seconds(1));
            assert!(world.gateways.devices().uninstall(&phone.token));
        }
        let seq = world.inbox().last_seq();
        let asked = world.ask("tom").await;
        assert_eq!(asked.method(), Method::Push);
        let id = &asked.challenge_id;
        let fell_back = until_method(&world, id, Method::Sms).await;
        assert_eq!(fell_back.state(), S::Pending);
        let shown = fell_back.code_delivery.clone().unwrap();
        assert_eq!(shown.masked_destination, MASKED);
        assert!(texted(&fell_back).is_some());
        for delivery in &fell_back.deliveries[..vendors.len()] {
            assert_eq!(delivery.state(), D::Failed, "{delivery:?}");
        }
        let code = world.code_after(NUMBER, seq).await;
        let decided = world.verify(id, &code).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified));

        // The broker knows by now: the next is texted from the start.
        let asked = world.ask("tom").await;
        assert_eq!((asked.state(), asked.method()), (S::Pending, Method::Sms));
    }
}

/// The gateway is not there: each prompt fails, and after some the breaker does
/// not even try.
#[tokio::test]
async fn a_gateway_that_is_down_turns_into_a_text() {
    let world = PushWorld::start().await;
    let never = v1::CodesPolicy {
        fallback_after: Some(prost_types::Duration::default()),
        ..v1::CodesPolicy::default()
    };
    world
        .rules(v1::TenantPolicy {
            codes: Some(never),
            challenge_ttl: Some(prost_types::Duration {
                seconds: 600,
                nanos: 0,
            }),
            ..generous()
        })
        .await;
    world.phone_number("tom", NUMBER).await;
    world.phone(Vendor::Fcm, "tom").await;
    world.gateways.faults("fcm").unwrap().set_down(true);
    for _ in 0..8 {
        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        let mut wait = world.broker.approvals(&world.tenant);
        let fell_back = patiently("a text instead of the push", async {
            loop {
                // A second try is due some seconds after the first.
                let timeout = Some(prost_types::Duration::default());
                let request = v1::WaitChallengeRequest {
                    challenge_id: id.clone(),
                    timeout,
                    ..v1::WaitChallengeRequest::default()
                };
                let now = wait.wait_challenge(request).await.unwrap().into_inner();
                let now = now.challenge.unwrap();
                assert_eq!(now.state(), S::Pending);
                if now.method() == Method::Sms {
                    return now;
                }
                world.broker.pass(std::time::Duration::from_millis(50));
            }
        })
        .await;
        assert_eq!(fell_back.deliveries[0].state(), D::Failed);
        let latest = world.inbox().wait_until(|texts| {
            let of_this = texts.len();
            texts.last().filter(|_| of_this > 1).cloned()
        });
        patiently("a text", latest).await;
        world.cancel(id).await;
        world.broker.pass(seconds(60));
    }
}

/// Silence for as long as policy says. The stream and the long poll are told at
/// once, with the number masked.
#[tokio::test]
async fn silence_turns_into_a_text() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let id = &asked.challenge_id;
    world.delivered(id, &phone.phone, D::Accepted).await;
    world.broker.pass(seconds(29));
    let still = world.broker.get(&world.tenant, id).await;
    assert_eq!(still.method(), Method::Push);
    assert_eq!(world.inbox().last_seq(), seq);

    let request = v1::WaitChallengeRequest {
        challenge_id: id.clone(),
        timeout: Some(prost_types::Duration {
            seconds: 300,
            nanos: 0,
        }),
        known_method: Method::Push.into(),
    };
    let mut approvals = world.broker.approvals(&world.tenant);
    let waiting = approvals.wait_challenge(request.clone());
    let (waited, watched, ()) = tokio::join!(
        patiently("an answer to the long poll", waiting),
        until_method(&world, id, Method::Sms),
        async { world.broker.pass(seconds(1)) },
    );
    let waited = waited.unwrap().into_inner().challenge.unwrap();
    // Who asks with what it showed before is told at once too.
    let again = world.broker.approvals(&world.tenant);
    let again = patiently("an answer", { again }.wait_challenge(request)).await;
    let again = again.unwrap().into_inner().challenge.unwrap();
    for told in [waited, watched, again] {
        assert_eq!((told.state(), told.method()), (S::Pending, Method::Sms));
        let shown = told.code_delivery.clone().unwrap();
        assert_eq!(shown.masked_destination, MASKED);
        assert!(texted(&told).is_some());
        assert_eq!(delivery(&told, &phone.phone).state(), D::Accepted);
        // 5 min from the text, whatever was left of the prompt's time.
        let left = told.expire_time.unwrap().seconds - asked.create_time.unwrap().seconds;
        assert_eq!(left, 30 + 300);
    }
    let code = world.code_after(NUMBER, seq).await;
    let decided = world.verify(id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(world.inbox().last_seq(), seq + 1, "one text");
}

/// A late approval on the phone counts until the code is used.
#[tokio::test]
async fn a_late_approval_counts_until_the_code_is_used() {
    let world = PushWorld::start().await;
    let mut phone = world.phone(Vendor::Apns, "tom").await;
    world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let id = &asked.challenge_id;
    phone.woken().await;
    world.broker.pass(seconds(30));
    let code = world.code_after(NUMBER, seq).await;
    phone.approve(id).await;
    let decided = world.broker.decided(&world.tenant, id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
    assert_eq!(decided.method(), Method::Push);
    assert_eq!(decided.decided_by_device_id, phone.phone.device_id());
    assert_eq!(decided.decided_by_authenticator_id, "");
    let late = world.verify(id, &code).await.unwrap_err();
    assert_eq!(
        why(&late),
        (Code::FailedPrecondition, "ALREADY_DECIDED".into())
    );
    assert_eq!(world.broker.get(&world.tenant, id).await, decided);
}

/// And the other way round; the prompt leaves the screen.
#[tokio::test]
async fn a_code_counts_until_the_phone_answers() {
    let world = PushWorld::start().await;
    let mut phone = world.phone(Vendor::Apns, "tom").await;
    world.phone_number("tom", NUMBER).await;
    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let id = &asked.challenge_id;
    assert_eq!(phone.woken().await.kind, "challenge");
    let prompt = phone.fetch(id).await;
    world.broker.pass(seconds(30));
    let code = world.code_after(NUMBER, seq).await;
    let decided = world.verify(id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(phone.woken().await.kind, "withdraw");
    for decision in [Decision::Approve, Decision::Deny] {
        phone
            .phone
            .respond(&prompt, decision, "")
            .await
            .unwrap_err();
    }
    let still = world.broker.get(&world.tenant, id).await;
    assert_eq!(end(&still), (S::Approved, R::CodeVerified));
    assert_eq!(still.receipt, decided.receipt);
}

/// Of both at the same moment exactly one decides and is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_code_and_an_approval_at_once_one_decides() {
    let world = PushWorld::start().await;
    world.rules(generous()).await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    let number = world.phone_number("tom", NUMBER).await;
    let mut by_phone = 0;
    for round in 0..50 {
        let seq = world.inbox().last_seq();
        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        world.broker.pass(seconds(30));
        let code = world.code_after(NUMBER, seq).await;
        let prompt = phone.fetch(id).await;
        let typed = world.verify(id, &code);
        let pressed = phone.phone.respond(&prompt, Decision::Approve, "");
        // Neither is always the first.
        let (typed, pressed) = if round % 2 == 0 {
            tokio::join!(typed, pressed)
        } else {
            let (pressed, typed) = tokio::join!(pressed, typed);
            (typed, pressed)
        };
        let decided = world.broker.decided(&world.tenant, id).await;
        match (&typed, &pressed) {
            (Ok(told), Err(_)) => {
                assert_eq!(end(told), (S::Approved, R::CodeVerified));
                assert_eq!(told, &decided);
                assert_eq!(decided.decided_by_authenticator_id, number);
            }
            (Err(late), Ok(_)) => {
                by_phone += 1;
                assert_eq!(
                    why(late),
                    (Code::FailedPrecondition, "ALREADY_DECIDED".into())
                );
                assert_eq!(end(&decided), (S::Approved, R::UserApproved));
                assert_eq!(decided.decided_by_device_id, phone.phone.device_id());
            }
            both => panic!("round {round}: {both:?}"),
        }
    }
    println!("by phone {by_phone} of 50");
    let approved = outcomes(&world, "challenge.decided").await;
    assert_eq!(approved.len(), 50, "{approved:?}");
}

/// A prompt that said "until then" can't approve afterwards, though the challenge
/// goes on by the code; a "no" still counts.
#[tokio::test]
async fn a_prompt_whose_time_is_over_can_only_deny() {
    for decision in [Decision::Deny, Decision::ReportFraud] {
        let world = PushWorld::start().await;
        let phone = world.phone(Vendor::Apns, "tom").await;
        world.phone_number("tom", NUMBER).await;
        let seq = world.inbox().last_seq();
        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        let prompt = phone.fetch(id).await;
        world.broker.pass(seconds(30));
        let code = world.code_after(NUMBER, seq).await;
        world.broker.pass(seconds(31));
        let answer = async |decision| {
            let body = phone.phone.response_body(&prompt, decision, "");
            let response = Some(phone.phone.sign_response(&body).unwrap());
            let request = v1::RespondRequest { response };
            world.broker.devices().respond(request).await
        };
        let refused = answer(Decision::Approve).await.unwrap_err();
        assert_eq!(
            why(&refused),
            (Code::FailedPrecondition, "PROMPT_EXPIRED".into())
        );
        let still = world.broker.get(&world.tenant, id).await;
        assert_eq!((still.state(), still.method()), (S::Pending, Method::Sms));
        // Nor is it shown as one that could.
        let pending = phone.phone.list_pending().await.unwrap();
        assert!(pending.challenges.is_empty(), "{pending:?}");

        answer(decision).await.unwrap();
        let decided = world.broker.decided(&world.tenant, id).await;
        let reason = match decision {
            Decision::Deny => R::UserDenied,
            _ => R::FraudReported,
        };
        assert_eq!(end(&decided), (S::Denied, reason));
        let late = world.verify(id, &code).await.unwrap_err();
        assert_eq!(
            why(&late),
            (Code::FailedPrecondition, "ALREADY_DECIDED".into())
        );
    }
}

/// Nobody can be reached, and no text may be sent: it ends at once, not after a
/// minute.
#[tokio::test]
async fn out_of_reach_and_no_text_ends_at_once() {
    // No number at all.
    let world = PushWorld::start().await;
    let dead = world.phone(Vendor::Apns, "ann").await;
    world.broker.pass(seconds(1));
    world.gateways.devices().uninstall(&dead.token);
    let asked = world.ask("ann").await;
    let ended = world
        .broker
        .decided(&world.tenant, &asked.challenge_id)
        .await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    let asked = world.ask("nobody").await;
    assert_eq!(end(&asked), (S::Denied, R::Unreachable));

    // A number that has had its share: a code for another sign-in.
    let sms = v1::SmsPolicy {
        per_number_hour: Some(1),
        ..v1::SmsPolicy::default()
    };
    world
        .rules(v1::TenantPolicy {
            sms: Some(sms),
            ..v1::TenantPolicy::default()
        })
        .await;
    world.phone_number("tom", NUMBER).await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    world.broker.pass(seconds(1));
    world.gateways.devices().uninstall(&phone.token);
    let first = world.ask_by("tom", Method::Sms).await.unwrap();
    assert_eq!(first.method(), Method::Sms);
    let texted = world.inbox().wait_until(|texts| {
        let is_code = |text: &&TextMessage| text.text.starts_with(|c: char| c.is_ascii_digit());
        (texts.iter().filter(is_code).count() == 2).then_some(())
    });
    patiently("the code", texted).await;
    let asked = world.ask("tom").await;
    let ended = world
        .broker
        .decided(&world.tenant, &asked.challenge_id)
        .await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    assert_eq!(outcomes(&world, "code.refused").await, ["NUMBER_CAP"]);
    // By now its token is known to be dead.
    let refused = world.ask_by("tom", Method::Sms).await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::ResourceExhausted, "NUMBER_CAP".into())
    );
    assert_eq!(
        outcomes(&world, "code.refused").await,
        ["NUMBER_CAP", "NUMBER_CAP"]
    );
    assert_eq!(codes_shown(&world), 2);
}

/// No text may be sent, but the phone may still answer: it goes on as it was.
#[tokio::test]
async fn a_refused_text_leaves_the_prompt_to_the_phone() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let phone = world.phone(Vendor::Apns, "tom").await;
    let denied = world.ask("tom").await;
    let prompt = phone.fetch(&denied.challenge_id).await;
    phone
        .phone
        .respond(&prompt, Decision::Deny, "")
        .await
        .unwrap();

    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let id = &asked.challenge_id;
    let mut audit = world
        .broker
        .admin()
        .watch_audit(v1::WatchAuditRequest {
            tenant_id: world.tenant.id.clone(),
            resume_token: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    world.delivered(id, &phone.phone, D::Accepted).await;
    world.broker.pass(seconds(30));
    in_time(async {
        loop {
            let page = audit.message().await.unwrap().unwrap();
            let refused = |entry: &&v1::AuditEntry| entry.action == "code.refused";
            if let Some(entry) = page.entries.iter().find(refused) {
                assert_eq!(
                    (&entry.object, entry.outcome.as_str()),
                    (id, "DENIED_A_MOMENT_AGO")
                );
                return;
            }
        }
    })
    .await;
    let still = world.broker.get(&world.tenant, id).await;
    assert_eq!((still.state(), still.method()), (S::Pending, Method::Push));
    assert_eq!(world.inbox().last_seq(), seq);
    phone.approve(id).await;
    let decided = world.broker.decided(&world.tenant, id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));

    // Silence without any number: until its time is over.
    let phone = world.phone(Vendor::Fcm, "ann").await;
    let asked = world.ask("ann").await;
    let id = &asked.challenge_id;
    world.delivered(id, &phone.phone, D::Accepted).await;
    world.broker.pass(seconds(59));
    let still = world.broker.get(&world.tenant, id).await;
    assert_eq!((still.state(), still.method()), (S::Pending, Method::Push));
    world.broker.pass(seconds(1));
    let ended = world.broker.decided(&world.tenant, id).await;
    assert_eq!(end(&ended), (S::Expired, R::TimedOut));
}

/// No gateway takes the text: the page is told, and may offer another way.
#[tokio::test]
async fn a_text_that_nobody_takes_ends_what_nobody_else_can_answer() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let refused = Fault::Reply {
        status: 401,
        reason: "Authenticate".into(),
        retry_after: None,
    };
    for gateway in ["webhook", "twilio"] {
        let faults = world.gateways.faults(gateway).unwrap();
        faults.schedule([refused.clone()]);
    }
    let asked = world.ask("tom").await;
    assert_eq!(asked.state(), S::Pending);
    let ended = world
        .broker
        .decided(&world.tenant, &asked.challenge_id)
        .await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    let text = texted(&ended).unwrap();
    assert_eq!(text.state(), D::Failed);
    assert!(!text.reason.is_empty());
    assert_eq!(codes_shown(&world), 1);
}
