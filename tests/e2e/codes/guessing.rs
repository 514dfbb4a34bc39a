//! Guessing: however many guess, however fast, at however many sign-ins and by
//! whatever methods, an account is compared with few.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, Method,
    approval_service_client::ApprovalServiceClient,
};
use countersign_tests::{
    Authorized,
    codes::{STEP, wrong},
    end,
    push::PushWorld,
};
use parking_lot::Mutex;
use tonic::Code;

use super::{NUMBER, attempts_left, outcomes, seconds, wait, why};

/// Guesses that were compared with anything, since the broker started.
async fn compared(world: &PushWorld) -> u64 {
    let mut sum = 0;
    for method in ["SMS", "TOTP", "RECOVERY_CODE"] {
        for verdict in ["right", "wrong"] {
            let labels = format!(r#"method="{method}",verdict="{verdict}""#);
            sum += world
                .broker
                .metric("countersign_guesses_total", &labels)
                .await;
        }
    }
    sum
}

/// 64 connections.
async fn connections(world: &PushWorld) -> Vec<ApprovalServiceClient<Authorized>> {
    (0..64)
        .map(|_| world.broker.approvals(&world.tenant))
        .collect()
}

/// What each of 64 guessers fires before the clock is turned.
const VOLLEY: u64 = 2;

/// 10,000 guesses from 64 connections at one account, in sign-ins without number,
/// by all methods, with all the time that the broker asks for in between, over a
/// restart: 100 are compared, then the account is locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_guesses_a_hundred_are_compared() {
    let mut world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    let app = world.totp("tom").await;
    world.broker.recovery_codes(&world.tenant, "tom").await;
    let mut connected = connections(&world).await;
    let fired = Arc::new(AtomicU64::new(0));
    let methods = [Method::Totp, Method::RecoveryCode, Method::Sms];
    let (mut so_far, mut before_restart, mut rounds) = (0, 0, 0_u32);
    loop {
        // Each volley at a sign-in of its own.
        let method = methods[rounds as usize % methods.len()];
        let seq = world.inbox().last_seq();
        let asked = world.ask_by("tom", method).await.unwrap();
        if asked.state() != S::Pending {
            assert_eq!(end(&asked), (S::Denied, R::LockedOut));
            break;
        }
        let now = world.broker.now_ms() / 1000 / STEP;
        let guess = match method {
            Method::Sms => wrong(&world.code_after(NUMBER, seq).await),
            Method::Totp => {
                let shown = [now - 1, now, now + 1].map(|step| app.code_of(step));
                let mut others = (0..).map(|n| format!("{n:06}"));
                others.find(|code| !shown.contains(code)).unwrap()
            }
            _ => "0000-0000-0000-0000".to_owned(),
        };
        let mut calls = tokio::task::JoinSet::new();
        for connection in &connected {
            let (mut connection, fired) = (connection.clone(), Arc::clone(&fired));
            let request = v1::VerifyCodeRequest {
                challenge_id: asked.challenge_id.clone(),
                code: guess.clone(),
            };
            calls.spawn(async move {
                for _ in 0..VOLLEY {
                    fired.fetch_add(1, Ordering::Relaxed);
                    match connection.verify_code(request.clone()).await {
                        Ok(told) => {
                            let told = told.into_inner().challenge.unwrap();
                            assert_eq!(told.state(), S::Denied, "{told:?}");
                        }
                        Err(refused) => {
                            let (_, reason) = why(&refused);
                            let known = ["WRONG_CODE", "GUESS_TOO_SOON", "ALREADY_DECIDED"];
                            assert!(known.contains(&reason.as_str()), "{reason}");
                        }
                    }
                }
            });
        }
        calls.join_all().await;
        let total = before_restart + compared(&world).await;
        // Five are free, then one for each wait.
        let most = if rounds == 0 { 5 } else { so_far + 1 };
        assert_eq!(total, most, "round {rounds}");
        so_far = total;
        rounds += 1;
        if rounds == 40 {
            before_restart = so_far;
            world.broker.restart().await;
            connected = connections(&world).await;
            // The wait goes on where it was.
            let asked = world.ask_by("tom", Method::Totp).await.unwrap();
            let early = world
                .verify(&asked.challenge_id, "000000")
                .await
                .unwrap_err();
            assert_eq!(
                why(&early),
                (Code::ResourceExhausted, "GUESS_TOO_SOON".into())
            );
        }
        // The longest wait that policy knows.
        world.broker.pass(seconds(3600));
    }
    let fired = fired.load(Ordering::Relaxed);
    println!("{fired} guesses, {so_far} compared");
    assert!(fired >= 10_000, "{fired}");
    assert_eq!(so_far, 100);
    // As the account itself counted them, and as the audit trail tells.
    assert_eq!(outcomes(&world, "code.wrong").await.len(), 100);
    assert_eq!(
        outcomes(&world, "account.locked").await,
        ["TOO_MANY_FAILURES"]
    );

    // Locked is locked: the right code too, after a restart too, for ever.
    world.broker.restart().await;
    world.broker.pass(seconds(86_400 * 365));
    for method in [Method::Totp, Method::Sms, Method::Unspecified] {
        let asked = world.ask_by("tom", method).await.unwrap();
        assert_eq!(end(&asked), (S::Denied, R::LockedOut), "{method:?}");
    }
    // And nobody else is.
    let app = world.totp("ann").await;
    let asked = world.ask_by("ann", Method::Totp).await.unwrap();
    let code = app.code(world.broker.now_ms());
    let decided = world.verify(&asked.challenge_id, &code).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
}

/// 30 s, 60 s, 120 s … an hour, over sign-ins and methods; the right code waits
/// as well, and then all is forgiven.
#[tokio::test]
async fn waits_grow_and_a_success_forgives() {
    let world = PushWorld::start().await;
    let app = world.totp("tom").await;
    world.broker.recovery_codes(&world.tenant, "tom").await;
    let fail = async |wanted: u32| {
        let asked = world.ask_by("tom", Method::RecoveryCode).await.unwrap();
        let guessed = world
            .verify(&asked.challenge_id, "0000-0000-0000-0000")
            .await;
        assert_eq!(attempts_left(&guessed.unwrap_err()), wanted);
    };
    for _ in 0..2 {
        for _ in 0..5 {
            fail(4).await;
        }
        let mut pause = 30;
        for _ in 0..10 {
            let asked = world.ask_by("tom", Method::Totp).await.unwrap();
            let code = app.code(world.broker.now_ms());
            for (passed, left) in [(0, pause), (pause - 1, 1)] {
                world.broker.pass(seconds(passed));
                let early = world.verify(&asked.challenge_id, &code).await;
                let Err(early) = early else {
                    panic!("not waited for");
                };
                // A long wait is longer than a sign-in lives.
                if why(&early).1 == "ALREADY_DECIDED" {
                    continue;
                }
                assert_eq!(why(&early).1, "GUESS_TOO_SOON");
                assert_eq!(wait(&early), seconds(left));
            }
            world.broker.pass(seconds(1));
            fail(4).await;
            pause = (pause * 2).min(3600);
        }
        world.broker.pass(seconds(pause));
        let asked = world.ask_by("tom", Method::Totp).await.unwrap();
        let code = app.code(world.broker.now_ms());
        let decided = world.verify(&asked.challenge_id, &code).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    }
}

/// A wrong number typed on the phone is a guess like any other.
#[tokio::test]
async fn wrong_numbers_count_as_guesses() {
    let world = PushWorld::start().await;
    world
        .rules(v1::TenantPolicy {
            number_matching: v1::NumberMatching::Always.into(),
            ..v1::TenantPolicy::default()
        })
        .await;
    let phone = world.broker.phone(&world.tenant, "tom").await;
    let app = world.totp("tom").await;
    for _ in 0..5 {
        world.broker.pass(seconds(600));
        let asked = world.ask("tom").await;
        let pending = phone.list_pending().await.unwrap().challenges;
        let number = wrong(&asked.number_to_match);
        phone
            .respond(&pending[0], Decision::Approve, &number)
            .await
            .unwrap();
        let ended = world
            .broker
            .decided(&world.tenant, &asked.challenge_id)
            .await;
        assert_eq!(end(&ended), (S::Denied, R::WrongNumber));
    }
    let asked = world.ask_by("tom", Method::Totp).await.unwrap();
    let code = app.code(world.broker.now_ms());
    let early = world.verify(&asked.challenge_id, &code).await.unwrap_err();
    assert_eq!(wait(&early), seconds(30));
}

/// The lock comes down on sign-ins that are under way.
#[tokio::test]
async fn a_lock_ends_what_is_pending() {
    let world = PushWorld::start().await;
    world
        .rules(v1::TenantPolicy {
            lockout: Some(v1::LockoutPolicy {
                lock_after: Some(10),
                ..v1::LockoutPolicy::default()
            }),
            ..v1::TenantPolicy::default()
        })
        .await;
    world.phone_number("tom", NUMBER).await;
    world.totp("tom").await;
    let codes = Mutex::new(Vec::new());
    let mut last = None;
    for failures in 1..=10 {
        world.broker.pass(seconds(3600));
        let asked = world.ask_by("tom", Method::Totp).await.unwrap();
        let seq = world.inbox().last_seq();
        let guessed = world.verify(&asked.challenge_id, "000000").await;
        if failures == 10 {
            last = Some(guessed.unwrap());
            let notice = world.text_after(NUMBER, seq).await;
            codes.lock().push(notice.text);
        } else {
            attempts_left(&guessed.unwrap_err());
        }
    }
    assert_eq!(end(&last.unwrap()), (S::Denied, R::LockedOut));
    // The owner is told.
    assert_eq!(codes.lock().len(), 1);
    assert_eq!(
        outcomes(&world, "account.locked").await,
        ["TOO_MANY_FAILURES"]
    );
}
