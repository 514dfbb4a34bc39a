//! "Having trouble? Sign in another way", asked for on the sign-in page.

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, DeliveryState as D, Method,
};
use countersign_tests::{codes::wrong, end, push::PushWorld, sign_in};
use device_sim::gateway::Vendor;
use tonic::Code;

use super::{
    MASKED, NUMBER, attempts_left, codes_shown, generous, never_by_itself, outcomes, seconds,
    texted, wait, why,
};

/// From the push to a text, to an authenticator app, to a recovery code and back,
/// inside one sign-in.
#[tokio::test]
async fn every_way_and_back_inside_one_challenge() {
    let world = PushWorld::start().await;
    let (broker, tenant) = (&world.broker, &world.tenant);
    let mut phone = world.phone(Vendor::Apns, "tom").await;
    world.phone_number("tom", NUMBER).await;
    let app = world.totp("tom").await;
    let sheet = broker.recovery_codes(tenant, "tom").await;
    let shown = |challenge: &v1::Challenge| (challenge.state(), challenge.method());

    let seq = world.inbox().last_seq();
    let asked = world.ask("tom").await;
    let id = &asked.challenge_id;
    assert_eq!(shown(&asked), (S::Pending, Method::Push));
    assert_eq!(asked.code_delivery, None);
    phone.woken().await;
    // Nothing is waited for yet.
    let refused = world.verify(id, "123456").await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "NO_CODE_EXPECTED".into())
    );

    let by_text = world.send_code(id, Method::Sms).await.unwrap();
    assert_eq!(shown(&by_text), (S::Pending, Method::Sms));
    let delivery = by_text.code_delivery.clone().unwrap();
    assert_eq!(delivery.masked_destination, MASKED);
    assert_eq!(delivery.attempts_left, 5);
    assert_eq!(
        delivery.resend_time.unwrap().seconds,
        asked.create_time.unwrap().seconds + 30
    );
    let text = world.code_after(NUMBER, seq).await;
    assert_eq!(
        shown(&world.broker.get(tenant, id).await),
        shown(&by_text),
        "as the call said"
    );

    let by_app = world.send_code(id, Method::Totp).await.unwrap();
    assert_eq!(shown(&by_app), (S::Pending, Method::Totp));
    // What was typed is looked at as what the page asked for, only.
    let refused = world.verify(id, &text).await.unwrap_err();
    assert_eq!(attempts_left(&refused), 4);

    let by_sheet = world.send_code(id, Method::RecoveryCode).await.unwrap();
    assert_eq!(shown(&by_sheet), (S::Pending, Method::RecoveryCode));
    assert_eq!(by_sheet.code_delivery.unwrap().attempts_left, 4);
    let not_one = world
        .verify(id, &app.code(broker.now_ms()))
        .await
        .unwrap_err();
    assert_eq!(countersign_tests::field(&not_one), "code");
    let refused = world.verify(id, "0000-0000-0000-0000").await.unwrap_err();
    assert_eq!(attempts_left(&refused), 3);

    let by_push = world.send_code(id, Method::Push).await.unwrap();
    assert_eq!(shown(&by_push), (S::Pending, Method::Push));
    assert_eq!(phone.woken().await.challenge_id, *id, "pushed once more");
    let refused = world.verify(id, &sheet[0]).await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "NO_CODE_EXPECTED".into())
    );

    // And to the code that was texted: nothing is sent for that.
    let back = world.send_code(id, Method::Sms).await.unwrap();
    assert_eq!(shown(&back), (S::Pending, Method::Sms));
    assert_eq!(world.inbox().last_seq(), seq + 1);
    let decided = world.verify(id, &text).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(decided.method(), Method::Sms);
    let told = outcomes(&world, "challenge.method_changed").await;
    assert_eq!(told, ["SMS", "TOTP", "RECOVERY_CODE", "PUSH", "SMS"]);
    assert_eq!(phone.woken().await.kind, "withdraw");
}

/// Each way decides by itself; what the user does not have is refused.
#[tokio::test]
async fn each_way_decides_and_none_that_is_not_there() {
    let world = PushWorld::start().await;
    let (broker, tenant) = (&world.broker, &world.tenant);
    let phone = world.phone(Vendor::Apns, "tom").await;
    let asked = world.ask("tom").await;
    for method in [Method::Sms, Method::Totp, Method::RecoveryCode] {
        let refused = world
            .send_code(&asked.challenge_id, method)
            .await
            .unwrap_err();
        assert_eq!(
            why(&refused),
            (Code::FailedPrecondition, "NO_AUTHENTICATOR".into())
        );
    }
    phone.approve(&asked.challenge_id).await;

    let number = world.phone_number("tom", NUMBER).await;
    let app = world.totp("tom").await;
    let sheet = broker.recovery_codes(tenant, "tom").await;
    let seq = world.inbox().last_seq();
    for method in [Method::Sms, Method::Totp, Method::RecoveryCode] {
        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        world.send_code(id, method).await.unwrap();
        let code = match method {
            Method::Sms => world.code_after(NUMBER, seq).await,
            Method::Totp => app.code(broker.now_ms()),
            _ => sheet[3].clone(),
        };
        let decided = world.verify(id, &code).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
        assert_eq!(decided.method(), method);
        let by = &decided.decided_by_authenticator_id;
        match method {
            Method::Sms => assert_eq!(by, &number),
            Method::Totp => assert_eq!(by, &app.id),
            _ => assert!(!by.is_empty()),
        }
        let again = world.verify(id, &code).await.unwrap_err();
        assert_eq!(
            why(&again),
            (Code::FailedPrecondition, "ALREADY_DECIDED".into())
        );
    }

    // Not by this organisation's rules.
    let methods = v1::MethodsPolicy {
        totp: Some(false),
        ..v1::MethodsPolicy::default()
    };
    world
        .rules(v1::TenantPolicy {
            methods: Some(methods),
            ..v1::TenantPolicy::default()
        })
        .await;
    let asked = world.ask("tom").await;
    let refused = world
        .send_code(&asked.challenge_id, Method::Totp)
        .await
        .unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "NOT_BY_POLICY".into())
    );
}

/// 30 s, 60 s, 120 s, and five texts in all.
#[tokio::test]
async fn a_code_is_sent_again_after_growing_waits_five_times_at_most() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let mut seq = world.inbox().last_seq();
    let asked = world.ask_by("tom", Method::Sms).await.unwrap();
    let id = &asked.challenge_id;
    let mut codes = vec![world.code_after(NUMBER, seq).await];
    for pause in [30, 60, 120, 120] {
        for (passed, left) in [(0, pause), (pause - 1, 1)] {
            world.broker.pass(seconds(passed));
            let refused = world.send_code(id, Method::Sms).await.unwrap_err();
            assert_eq!(
                why(&refused),
                (Code::ResourceExhausted, "RESEND_TOO_SOON".into())
            );
            assert_eq!(wait(&refused), seconds(left));
        }
        world.broker.pass(seconds(1));
        seq = world.inbox().last_seq();
        let sent = world.send_code(id, Method::Unspecified).await.unwrap();
        assert_eq!((sent.state(), sent.method()), (S::Pending, Method::Sms));
        codes.push(world.code_after(NUMBER, seq).await);
    }
    world.broker.pass(seconds(120));
    let refused = world.send_code(id, Method::Sms).await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "TOO_MANY_SENDS".into())
    );
    assert_eq!(codes_shown(&world), 1 + 5);
    // Of the five only the last counts.
    let last = codes.pop().unwrap();
    for (tries, earlier) in codes.iter().enumerate() {
        assert_ne!(earlier, &last, "run it again");
        let refused = world.verify(id, earlier).await.unwrap_err();
        assert_eq!(attempts_left(&refused), 4 - u32::try_from(tries).unwrap());
    }
    let decided = world.verify(id, &last).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
}

/// Wrong codes are counted over sends and methods; the fifth ends the sign-in,
/// and the right one comes too late.
#[tokio::test]
async fn the_fifth_wrong_code_denies() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let app = world.totp("tom").await;
    let seq = world.inbox().last_seq();
    let asked = world.ask_by("tom", Method::Sms).await.unwrap();
    let id = &asked.challenge_id;
    let first = world.code_after(NUMBER, seq).await;
    for left in [4, 3] {
        let refused = world.verify(id, &wrong(&first)).await.unwrap_err();
        assert_eq!(attempts_left(&refused), left);
    }
    world.broker.pass(seconds(30));
    let seq = world.inbox().last_seq();
    let sent = world.send_code(id, Method::Sms).await.unwrap();
    assert_eq!(sent.code_delivery.unwrap().attempts_left, 3);
    let second = world.code_after(NUMBER, seq).await;
    let refused = world.verify(id, &first).await.unwrap_err();
    assert_eq!(attempts_left(&refused), 2);
    let by_app = world.send_code(id, Method::Totp).await.unwrap();
    assert_eq!(by_app.code_delivery.unwrap().attempts_left, 2);
    let right = app.code(world.broker.now_ms());
    let refused = world.verify(id, &wrong(&right)).await.unwrap_err();
    assert_eq!(attempts_left(&refused), 1);
    let ended = world.verify(id, &wrong(&right)).await.unwrap();
    assert_eq!(end(&ended), (S::Denied, R::TooManyAttempts));
    for code in [&second, &right] {
        let late = world.verify(id, code).await.unwrap_err();
        assert_eq!(
            why(&late),
            (Code::FailedPrecondition, "ALREADY_DECIDED".into())
        );
    }
    let refused = world.send_code(id, Method::Sms).await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "ALREADY_DECIDED".into())
    );

    // In the next sign-in nothing is looked at before the account has waited.
    let seq = world.inbox().last_seq();
    let asked = world.ask_by("tom", Method::Sms).await.unwrap();
    let code = world.code_after(NUMBER, seq).await;
    let early = world.verify(&asked.challenge_id, &code).await.unwrap_err();
    assert_eq!(
        why(&early),
        (Code::ResourceExhausted, "GUESS_TOO_SOON".into())
    );
    assert_eq!(wait(&early), seconds(30));
    world.broker.pass(seconds(30));
    let decided = world.verify(&asked.challenge_id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
}

/// "No" on the phone means no: that sign-in is over, and for a minute none of the
/// user's gets a text.
#[tokio::test]
async fn after_a_denial_or_a_report_no_code_is_sent() {
    for decision in [Decision::Deny, Decision::ReportFraud] {
        let world = PushWorld::start().await;
        world.rules(never_by_itself()).await;
        world.phone_number("tom", NUMBER).await;
        let phone = world.phone(Vendor::Apns, "tom").await;
        let asked = world.ask("tom").await;
        let prompt = phone.fetch(&asked.challenge_id).await;
        phone.phone.respond(&prompt, decision, "").await.unwrap();
        for method in [Method::Sms, Method::Totp, Method::RecoveryCode] {
            let refused = world
                .send_code(&asked.challenge_id, method)
                .await
                .unwrap_err();
            assert_eq!(
                why(&refused),
                (Code::FailedPrecondition, "ALREADY_DECIDED".into())
            );
        }
        let seq = world.inbox().last_seq();
        world.broker.pass(seconds(20));
        let refused = world.ask_by("tom", Method::Sms).await.unwrap_err();
        assert_eq!(
            why(&refused),
            (Code::ResourceExhausted, "DENIED_A_MOMENT_AGO".into())
        );
        assert_eq!(wait(&refused), seconds(40));
        let asked = world.ask("tom").await;
        let id = &asked.challenge_id;
        world.delivered(id, &phone.phone, D::Accepted).await;
        let refused = world.send_code(id, Method::Sms).await.unwrap_err();
        assert_eq!(
            why(&refused),
            (Code::ResourceExhausted, "DENIED_A_MOMENT_AGO".into())
        );
        assert_eq!(wait(&refused), seconds(40));
        assert_eq!(world.inbox().last_seq(), seq);
        world.broker.pass(seconds(40));
        let sent = world.send_code(id, Method::Sms).await.unwrap();
        assert_eq!(sent.method(), Method::Sms);
        let code = world.code_after(NUMBER, seq).await;
        let decided = world.verify(id, &code).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    }
}

/// A code opens the sign-in that it was sent for.
#[tokio::test]
async fn a_code_opens_no_other_challenge() {
    let world = PushWorld::start().await;
    world.rules(generous()).await;
    world.phone_number("tom", NUMBER).await;
    let mut codes = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let seq = world.inbox().last_seq();
        let asked = world.ask_by("tom", Method::Sms).await.unwrap();
        codes.push(world.code_after(NUMBER, seq).await);
        ids.push(asked.challenge_id);
    }
    let (right, earlier) = codes.split_last().unwrap();
    let (open, ended) = ids.split_last().unwrap();
    for id in ended {
        let late = world.verify(id, right).await.unwrap_err();
        assert_eq!(
            why(&late),
            (Code::FailedPrecondition, "ALREADY_DECIDED".into())
        );
    }
    for code in earlier {
        assert_ne!(code, right, "run it again");
        attempts_left(&world.verify(open, code).await.unwrap_err());
    }
    // Nor one of another user, whose number is the same.
    world.phone_number("ann", NUMBER).await;
    let anns = world.ask_by("ann", Method::Sms).await.unwrap();
    attempts_left(&world.verify(&anns.challenge_id, right).await.unwrap_err());
    let decided = world.verify(open, right).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
}

/// 5 min, and not a second more, though the sign-in lives on.
#[tokio::test]
async fn a_code_expires() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let mut request = sign_in("tom");
    request.method = Method::Sms.into();
    request.ttl = Some(prost_types::Duration {
        seconds: 600,
        nanos: 0,
    });
    for (age, counts) in [(299, true), (300, false)] {
        request.request_id = uuid::Uuid::new_v4().to_string();
        let seq = world.inbox().last_seq();
        let mut approvals = world.broker.approvals(&world.tenant);
        let asked = approvals.create_challenge(request.clone()).await.unwrap();
        let asked = asked.into_inner().challenge.unwrap();
        let id = &asked.challenge_id;
        let code = world.code_after(NUMBER, seq).await;
        world.broker.pass(seconds(age));
        let verified = world.verify(id, &code).await;
        if counts {
            assert_eq!(end(&verified.unwrap()), (S::Approved, R::CodeVerified));
            continue;
        }
        assert_eq!(
            why(&verified.unwrap_err()),
            (Code::FailedPrecondition, "NO_CODE_EXPECTED".into())
        );
        let still = world.broker.get(&world.tenant, id).await;
        assert_eq!(still.state(), S::Pending);
        assert_eq!(still.code_delivery.unwrap().attempts_left, 5, "no failure");
        let seq = world.inbox().last_seq();
        world.send_code(id, Method::Sms).await.unwrap();
        let code = world.code_after(NUMBER, seq).await;
        let decided = world.verify(id, &code).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    }
}

/// A challenge that goes on by codes ends after ten minutes all the same, and its
/// texts stop with it.
#[tokio::test]
async fn codes_do_not_keep_a_sign_in_alive_for_ever() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let asked = world.ask_by("tom", Method::Sms).await.unwrap();
    let id = &asked.challenge_id;
    for _ in 0..2 {
        world.broker.pass(seconds(290));
        world.send_code(id, Method::Sms).await.unwrap();
    }
    let still = world.broker.get(&world.tenant, id).await;
    assert!(texted(&still).is_some());
    let life = still.expire_time.unwrap().seconds - still.create_time.unwrap().seconds;
    assert_eq!(life, 600);
    world.broker.pass(seconds(20));
    let ended = world.broker.decided(&world.tenant, id).await;
    assert_eq!(end(&ended), (S::Expired, R::TimedOut));
}
