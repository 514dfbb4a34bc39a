//! Recovery codes: from a sheet of paper, each once.

use std::collections::BTreeSet;

use countersign_proto::v1::{self, ChallengeState as S, DecisionReason as R, Method};
use countersign_tests::{end, push::PushWorld};
use tonic::Code;

use super::{attempts_left, seconds, why};

async fn asked(world: &PushWorld) -> String {
    let asked = world.ask_by("tom", Method::RecoveryCode).await.unwrap();
    assert_eq!(asked.state(), S::Pending);
    assert_eq!(asked.method(), Method::RecoveryCode);
    asked.challenge_id
}

async fn remaining(world: &PushWorld) -> u32 {
    let listed = world.broker.authenticators(&world.tenant, "tom").await;
    match &listed[0].kind {
        Some(v1::authenticator::Kind::RecoveryCodes(codes)) => codes.remaining,
        other => panic!("{other:?}"),
    }
}

/// Ten, each opens one sign-in, however it is typed; then there is none left.
#[tokio::test]
async fn each_code_opens_one_sign_in() {
    let mut world = PushWorld::start().await;
    let sheet = world.broker.recovery_codes(&world.tenant, "tom").await;
    let different: BTreeSet<_> = sheet.iter().collect();
    assert_eq!(different.len(), 10);
    for (nth, code) in sheet.iter().enumerate() {
        let plain = code.replace('-', "");
        // 16 characters of 5 bits: 80.
        assert_eq!(plain.len(), 16, "{code}");
        let typed = match nth % 5 {
            0 => code.clone(),
            1 => plain.to_lowercase(),
            2 => plain.replace('0', "o").replace('1', "I"),
            3 => code.replace('-', " ").replace('0', "O").replace('1', "l"),
            _ => format!("  {} ", code.to_lowercase()),
        };
        let id = asked(&world).await;
        let decided = world.verify(&id, &typed).await.unwrap();
        assert_eq!(end(&decided), (S::Approved, R::CodeVerified), "{typed}");
        assert_eq!(decided.method(), Method::RecoveryCode);
        if nth == 5 {
            world.broker.restart().await;
        }
        if nth < 9 {
            assert_eq!(remaining(&world).await, 9 - u32::try_from(nth).unwrap());
            let id = asked(&world).await;
            attempts_left(&world.verify(&id, code).await.unwrap_err());
        }
    }
    let none = world.ask_by("tom", Method::RecoveryCode).await.unwrap();
    assert_eq!(end(&none), (S::Denied, R::Unreachable));
}

/// A new sheet voids the one before.
#[tokio::test]
async fn a_new_set_voids_the_old() {
    let world = PushWorld::start().await;
    let old = world.broker.recovery_codes(&world.tenant, "tom").await;
    let new = world.broker.recovery_codes(&world.tenant, "tom").await;
    let of_ann = world.broker.recovery_codes(&world.tenant, "ann").await;
    let id = asked(&world).await;
    for code in [&old[0], &old[9], &of_ann[0]] {
        attempts_left(&world.verify(&id, code).await.unwrap_err());
    }
    let decided = world.verify(&id, &new[0]).await.unwrap();
    assert_eq!(end(&decided), (S::Approved, R::CodeVerified));
    assert_eq!(
        world
            .broker
            .authenticators(&world.tenant, "tom")
            .await
            .len(),
        1
    );
}

/// 64 calls with the same code at once: one decides, and one code is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_calls_with_one_code_one_decides() {
    let world = PushWorld::start().await;
    let sheet = world.broker.recovery_codes(&world.tenant, "tom").await;
    let id = asked(&world).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let mut approvals = world.broker.approvals(&world.tenant);
        let request = v1::VerifyCodeRequest {
            challenge_id: id.clone(),
            code: sheet[0].clone(),
        };
        calls.spawn(async move { approvals.verify_code(request).await });
    }
    let answers = calls.join_all().await;
    let right = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(right, 1);
    for late in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(
            why(late),
            (Code::FailedPrecondition, "ALREADY_DECIDED".into())
        );
    }
    assert_eq!(remaining(&world).await, 9);
    world.broker.pass(seconds(1));
    let id = asked(&world).await;
    attempts_left(&world.verify(&id, &sheet[0]).await.unwrap_err());
}
