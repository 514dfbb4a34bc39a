//! Authenticator apps.

use countersign_proto::v1::{ChallengeState as S, DecisionReason as R, Method, authenticator};
use countersign_tests::{
    codes::{App, STEP, wrong},
    end,
    push::PushWorld,
};
use tonic::Code;

use super::{attempts_left, seconds, why};

/// A sign-in that waits for an authenticator app's code.
async fn asked(world: &PushWorld) -> String {
    let asked = world.ask_by("tom", Method::Totp).await.unwrap();
    assert_eq!((asked.state(), asked.method()), (S::Pending, Method::Totp));
    asked.challenge_id
}

/// The step that the broker's clock is in.
fn step(world: &PushWorld) -> u64 {
    world.broker.now_ms() / 1000 / STEP
}

/// Lets time pass until nothing is remembered against a guess.
fn rest(world: &PushWorld) {
    world.broker.pass(seconds(3600));
}

/// One step early or late is a clock that is a little off; two are wrong. The
/// clock is turned by whole steps, so that nothing depends on where in a step it
/// stands.
#[tokio::test]
async fn a_step_early_or_late_is_accepted() {
    let world = PushWorld::start().await;
    let app = world.totp("tom").await;
    for (off, counts) in [
        (-2_i64, false),
        (-1, true),
        (0, true),
        (1, true),
        (2, false),
    ] {
        rest(&world);
        let id = asked(&world).await;
        let code = app.code_of(step(&world).checked_add_signed(off).unwrap());
        let verified = world.verify(&id, &code).await;
        if counts {
            let decided = verified.unwrap();
            assert_eq!(end(&decided), (S::Approved, R::CodeVerified), "{off}");
            assert_eq!(decided.method(), Method::Totp);
            assert_eq!(decided.decided_by_authenticator_id, app.id);
        } else {
            assert_eq!(attempts_left(&verified.unwrap_err()), 4, "{off}");
        }
    }
}

/// No step is accepted twice, nor one before it: not in another sign-in, and not
/// after a restart.
#[tokio::test]
async fn no_step_is_accepted_twice() {
    let mut world = PushWorld::start().await;
    let app = world.totp("tom").await;
    let at = step(&world);
    // The one that confirmed it.
    let id = asked(&world).await;
    attempts_left(&world.verify(&id, &app.code_of(at - 1)).await.unwrap_err());
    let decided = world.verify(&id, &app.code_of(at)).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    for restart in [false, true] {
        if restart {
            world.broker.restart().await;
        }
        let id = asked(&world).await;
        for used in [at, at - 1] {
            let refused = world.verify(&id, &app.code_of(used)).await.unwrap_err();
            attempts_left(&refused);
        }
    }
    let id = asked(&world).await;
    let decided = world.verify(&id, &app.code_of(at + 1)).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    // That was a step ahead: the one in between is over with it.
    world.broker.pass(seconds(STEP));
    let id = asked(&world).await;
    attempts_left(&world.verify(&id, &app.code_of(at + 1)).await.unwrap_err());
}

/// 64 calls with the right code at once: one decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_calls_with_one_code_one_decides() {
    let world = PushWorld::start().await;
    let app = world.totp("tom").await;
    let id = asked(&world).await;
    let code = app.code_of(step(&world));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let mut approvals = world.broker.approvals(&world.tenant);
        let request = countersign_proto::v1::VerifyCodeRequest {
            challenge_id: id.clone(),
            code: code.clone(),
        };
        calls.spawn(async move { approvals.verify_code(request).await });
    }
    let mut right = 0;
    for answer in calls.join_all().await {
        match answer {
            Ok(told) => {
                right += 1;
                let told = told.into_inner().challenge.unwrap();
                assert_eq!(end(&told), (S::Approved, R::CodeVerified));
            }
            Err(late) => assert_eq!(
                why(&late),
                (Code::FailedPrecondition, "ALREADY_DECIDED".into())
            ),
        }
    }
    assert_eq!(right, 1);
    // Nor does it open the next sign-in.
    let id = asked(&world).await;
    attempts_left(&world.verify(&id, &code).await.unwrap_err());
}

/// Two sign-ins at once, of two identity providers of the organisation: the same
/// step opens one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_apps_each_has_its_own_steps() {
    let world = PushWorld::start().await;
    let first = world.totp("tom").await;
    let second = world.totp("tom").await;
    let at = step(&world);
    for app in [&first, &second] {
        let id = asked(&world).await;
        let decided = world.verify(&id, &app.code_of(at)).await.unwrap();
        assert_eq!(decided.decided_by_authenticator_id, app.id);
        let id = asked(&world).await;
        attempts_left(&world.verify(&id, &app.code_of(at)).await.unwrap_err());
    }
}

fn is_confirmed(listed: &authenticator::Kind) -> bool {
    match listed {
        authenticator::Kind::TotpApp(app) => app.confirmed,
        other => panic!("{other:?}"),
    }
}

/// An app counts once it has shown a right code; five wrong ones and it is gone.
#[tokio::test]
async fn an_app_counts_when_it_is_confirmed() {
    let world = PushWorld::start().await;
    let (broker, tenant) = (&world.broker, &world.tenant);
    let app = broker.add_totp(tenant, "tom").await;
    let listed = broker.authenticators(tenant, "tom").await;
    assert!(!is_confirmed(listed[0].kind.as_ref().unwrap()));
    let asked = world.ask_by("tom", Method::Totp).await.unwrap();
    assert_eq!(end(&asked), (S::Denied, R::Unreachable));

    // Beside one that counts, its codes are wrong ones.
    let good = world.totp("tom").await;
    let id = self::asked(&world).await;
    let now = step(&world);
    attempts_left(&world.verify(&id, &app.code_of(now)).await.unwrap_err());
    world.verify(&id, &good.code_of(now)).await.unwrap();

    let confirm = async |app: &App, code: &str| broker.confirm_totp(tenant, "tom", app, code).await;
    let right = app.code_of(now);
    for left in (1..=4).rev() {
        let refused = confirm(&app, &wrong(&right)).await.unwrap_err();
        assert_eq!(attempts_left(&refused), left);
    }
    let last = confirm(&app, &wrong(&right)).await.unwrap_err();
    assert_eq!(attempts_left(&last), 0);
    let gone = confirm(&app, &right).await.unwrap_err();
    assert_eq!(why(&gone), (Code::NotFound, "NOT_FOUND".into()));
    // One that is confirmed is not to be confirmed again.
    let again = confirm(&good, &good.code_of(now + 1)).await.unwrap_err();
    assert_eq!(why(&again), (Code::NotFound, "NOT_FOUND".into()));
    let listed = broker.authenticators(tenant, "tom").await;
    assert_eq!(listed.len(), 1);
    assert!(is_confirmed(listed[0].kind.as_ref().unwrap()));
}
