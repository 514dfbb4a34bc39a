//! "Don't ask again on this device": remembered browsers, their tokens, and all
//! that ends them.

use std::time::Duration;

use countersign_proto::v1::{self, ChallengeState as S, Decision, DecisionReason as R, Method};
use countersign_tests::{Tenant, TestBroker, end, reason, sign_in};
use device_sim::{phone::Phone, receipt::ReceiptCheck};
use tokio::task::JoinSet;

use crate::audit::{admin_with, list};

/// A sign-in from a browser with this token, or none.
pub(crate) fn with_token(token: &str) -> v1::CreateChallengeRequest {
    v1::CreateChallengeRequest {
        browser_token: token.into(),
        ..sign_in("tom")
    }
}

/// A sign-in with the box ticked.
pub(crate) fn ticked() -> v1::CreateChallengeRequest {
    v1::CreateChallengeRequest {
        remember_browser: true,
        ..sign_in("tom")
    }
}

pub(crate) async fn create(
    broker: &TestBroker,
    tenant: &Tenant,
    request: v1::CreateChallengeRequest,
) -> v1::Challenge {
    let made = broker.approvals(tenant).create_challenge(request).await;
    made.unwrap().into_inner().challenge.unwrap()
}

/// Tom answers the one prompt that he sees.
pub(crate) async fn answer(phone: &Phone, decision: Decision, number: &str) {
    let mut pending = phone.list_pending().await.unwrap();
    assert_eq!(pending.challenges.len(), 1, "{:?}", pending.refused);
    let signed = pending.challenges.remove(0);
    phone.respond(&signed, decision, number).await.unwrap();
}

/// Tom approves with the box ticked: the browser's token.
pub(crate) async fn remember(broker: &TestBroker, tenant: &Tenant, phone: &Phone) -> String {
    let asked = create(broker, tenant, ticked()).await;
    assert_eq!(asked.remembered_browser_token, "");
    answer(phone, Decision::Approve, &asked.number_to_match).await;
    let approved = broker.get(tenant, &asked.challenge_id).await;
    assert_eq!(end(&approved), (S::Approved, R::UserApproved));
    approved.remembered_browser_token
}

/// What a sign-in with this token comes to: the next token, if it was let
/// through.
async fn use_token(broker: &TestBroker, tenant: &Tenant, token: &str) -> Option<String> {
    let made = create(broker, tenant, with_token(token)).await;
    let next = made.remembered_browser_token.clone();
    if made.state() == S::Approved {
        assert_eq!(end(&made), (S::Approved, R::RememberedBrowser));
        assert_ne!(next, "");
        return Some(next);
    }
    assert_eq!((made.state(), next.as_str()), (S::Pending, ""));
    // So that the next one is not one too many.
    let challenge_id = made.challenge_id;
    let request = v1::CancelChallengeRequest { challenge_id };
    broker
        .approvals(tenant)
        .cancel_challenge(request)
        .await
        .unwrap();
    broker.pass(Duration::from_secs(3600));
    None
}

async fn next_step(broker: &TestBroker, tenant: &Tenant, token: &str) -> v1::NextStep {
    let request = v1::GetSignInOptionsRequest {
        user_id: "tom".into(),
        browser_token: token.into(),
    };
    let options = broker.approvals(tenant).get_sign_in_options(request).await;
    options.unwrap().into_inner().next_step()
}

async fn forget(broker: &TestBroker, tenant: &Tenant) -> u32 {
    let request = v1::ForgetBrowsersRequest {
        user_id: "tom".into(),
    };
    let forgotten = broker.enrollments(tenant).forget_browsers(request).await;
    forgotten.unwrap().into_inner().forgotten
}

#[tokio::test]
async fn a_remembered_browser_is_let_through_without_asking() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    assert_eq!(next_step(&broker, &tenant, "").await, v1::NextStep::Approve);
    let token = remember(&broker, &tenant, &phone).await;
    assert!(token.starts_with("csb_"), "{token}");
    let step = next_step(&broker, &tenant, &token).await;
    assert_eq!(step, v1::NextStep::Remembered);

    broker.restart().await;
    let phone = broker.moved(&phone);
    broker.pass(Duration::from_secs(29 * 86_400));
    let request = with_token(&token);
    let let_in = create(&broker, &tenant, request.clone()).await;
    assert_eq!(end(&let_in), (S::Approved, R::RememberedBrowser));
    assert_eq!(let_in.method(), Method::RememberedBrowser);
    assert_eq!(let_in.deliveries, []);
    assert_eq!(
        (let_in.number_to_match.as_str(), &let_in.code_delivery),
        ("", &None)
    );
    assert!(phone.list_pending().await.unwrap().challenges.is_empty());

    // The receipt holds, and claims nothing of anybody who was asked.
    let jwks = format!("http://{}/.well-known/jwks.json", broker.http);
    let jwks = reqwest::get(jwks).await.unwrap().text().await.unwrap();
    let check = ReceiptCheck::new(&jwks, &tenant.api_key_id, broker.phone_clock()());
    let receipt = check.unwrap().check(&let_in.receipt).unwrap();
    assert_eq!(receipt.response, None);
    let claims = receipt.claims;
    assert_eq!(
        (claims.decision.as_str(), claims.amr.len()),
        ("APPROVED", 0)
    );
    assert_eq!(claims.reason, "REMEMBERED_BROWSER");
    assert_eq!((claims.auth_time, claims.device_id.as_str()), (None, ""));

    // Each use gives the next token, however often it is asked for.
    let next = let_in.remembered_browser_token.clone();
    assert_ne!(next, token);
    assert_eq!(create(&broker, &tenant, request).await, let_in);
    assert_eq!(broker.get(&tenant, &let_in.challenge_id).await, let_in);
    broker.restart().await;
    let later = broker.get(&tenant, &let_in.challenge_id).await;
    assert_eq!(later.remembered_browser_token, next);
    broker.pass(Duration::from_secs(300));
    let later = broker.get(&tenant, &let_in.challenge_id).await;
    assert_eq!(later.remembered_browser_token, "");
    let last = use_token(&broker, &tenant, &next).await.expect("counts");
    // Thirty days from the approval, not from the last use.
    broker.pass(Duration::from_secs(86_400));
    let step = next_step(&broker, &tenant, &last).await;
    assert_eq!(step, v1::NextStep::Approve);
    assert_eq!(use_token(&broker, &tenant, &last).await, None);
}

#[tokio::test]
async fn a_code_remembers_a_browser_as_well_and_no_means_no() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let request = v1::CreateRecoveryCodesRequest {
        user_id: "tom".into(),
    };
    let mut enrollments = broker.enrollments(&tenant);
    let made = enrollments.create_recovery_codes(request).await;
    let codes = made.unwrap().into_inner().codes;
    let mut approvals = broker.approvals(&tenant);
    for (remember_browser, code) in [(true, &codes[0]), (false, &codes[1])] {
        let request = v1::CreateChallengeRequest {
            method: Method::RecoveryCode.into(),
            remember_browser,
            ..sign_in("tom")
        };
        let asked = create(&broker, &tenant, request).await;
        let request = v1::VerifyCodeRequest {
            challenge_id: asked.challenge_id,
            code: code.clone(),
        };
        let verified = approvals.verify_code(request).await.unwrap().into_inner();
        let verified = verified.challenge.unwrap();
        assert_eq!(end(&verified), (S::Approved, R::CodeVerified));
        let token = verified.remembered_browser_token;
        assert_eq!(token.is_empty(), !remember_browser);
        if remember_browser {
            use_token(&broker, &tenant, &token).await.expect("counts");
        }
    }
    let phone = broker.phone(&tenant, "tom").await;
    for decision in [Decision::Deny, Decision::ReportFraud] {
        let asked = create(&broker, &tenant, ticked()).await;
        answer(&phone, decision, "").await;
        let denied = broker.get(&tenant, &asked.challenge_id).await;
        assert_eq!(denied.state(), S::Denied);
        assert_eq!(denied.remembered_browser_token, "");
    }
}

#[tokio::test]
async fn of_two_sign_ins_at_once_one_is_let_through() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let token = remember(&broker, &tenant, &phone).await;
    let mut tries = JoinSet::new();
    for _ in 0..4 {
        let mut approvals = broker.approvals(&tenant);
        let request = with_token(&token);
        tries.spawn(async move {
            let made = approvals.create_challenge(request).await.unwrap();
            made.into_inner().challenge.unwrap().reason()
        });
    }
    let ends = tries.join_all().await;
    let let_in = ends.iter().filter(|end| **end == R::RememberedBrowser);
    assert_eq!(let_in.count(), 1, "{ends:?}");
}

#[tokio::test]
async fn a_token_that_comes_twice_ends_its_browser() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let stolen = remember(&broker, &tenant, &phone).await;
    // The thief is faster.
    let thief = use_token(&broker, &tenant, &stolen).await.expect("counts");
    assert_eq!(use_token(&broker, &tenant, &stolen).await, None, "Tom");
    assert_eq!(use_token(&broker, &tenant, &thief).await, None, "the thief");

    let (key, _) = broker.api_key(&tenant.id, v1::Role::Admin).await;
    let mut admin = admin_with(&broker, &key);
    let (all, _) = list(&mut admin, v1::ListAuditEntriesRequest::default()).await;
    let told: Vec<_> = all
        .iter()
        .filter(|entry| entry.action.starts_with("browser."))
        .map(|entry| (entry.action.as_str(), entry.user_id.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("browser.remembered", "tom"),
            ("browser.used", "tom"),
            ("browser.replayed", "tom")
        ]
    );
    // Of the tokens only what may be known stands in it.
    let all = format!("{all:?}");
    for token in [&stolen, &thief] {
        let secret = token.rsplit('_').next().unwrap();
        assert!(!all.contains(&secret[32..]) && !all.contains("csb_"));
    }
}

#[tokio::test]
async fn what_takes_trust_away_forgets_browsers() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let mut phone = broker.phone(&tenant, "tom").await;
    let tenant_id = || tenant.id.clone();
    let user_id = || "tom".to_owned();
    for way in [
        "forgotten",
        "reported",
        "locked",
        "reset",
        "a device removed",
        "a device gone by itself",
        "another policy",
        "nothing",
    ] {
        broker.pass(Duration::from_secs(86_400));
        let token = remember(&broker, &tenant, &phone).await;
        broker.restart().await;
        phone = broker.moved(&phone);
        match way {
            "forgotten" => {
                assert_eq!(forget(&broker, &tenant).await, 1);
                assert_eq!(forget(&broker, &tenant).await, 0);
            }
            "reported" => {
                broker.ask(&tenant, "tom").await;
                answer(&phone, Decision::ReportFraud, "").await;
            }
            "locked" => {
                let (tenant_id, user_id) = (tenant_id(), user_id());
                let request = v1::LockUserRequest { tenant_id, user_id };
                broker.admin().lock_user(request.clone()).await.unwrap();
                let refused = create(&broker, &tenant, with_token(&token)).await;
                assert_eq!(end(&refused), (S::Denied, R::LockedOut));
                let step = next_step(&broker, &tenant, &token).await;
                assert_eq!(step, v1::NextStep::Locked);
                let request = v1::UnlockUserRequest {
                    tenant_id: request.tenant_id,
                    user_id: request.user_id,
                };
                broker.admin().unlock_user(request).await.unwrap();
            }
            "reset" => {
                let (tenant_id, user_id) = (tenant_id(), user_id());
                let request = v1::ResetUserRequest { tenant_id, user_id };
                broker.admin().reset_user(request).await.unwrap();
                let step = next_step(&broker, &tenant, &token).await;
                assert_eq!(step, v1::NextStep::Enroll);
                phone = broker.phone(&tenant, "tom").await;
            }
            "a device removed" => {
                let other = broker.phone(&tenant, "tom").await;
                let request = v1::RemoveAuthenticatorRequest {
                    user_id: user_id(),
                    authenticator_id: other.device_id().into(),
                };
                let mut enrollments = broker.enrollments(&tenant);
                enrollments.remove_authenticator(request).await.unwrap();
            }
            "a device gone by itself" => {
                let other = broker.phone(&tenant, "tom").await;
                other.unenroll().await.unwrap();
            }
            "another policy" => {
                let request = v1::UpdatePolicyRequest {
                    tenant_id: tenant_id(),
                    policy: Some(v1::TenantPolicy {
                        browser_days: Some(90),
                        ..v1::TenantPolicy::default()
                    }),
                    ..v1::UpdatePolicyRequest::default()
                };
                broker.admin().update_policy(request).await.unwrap();
            }
            _ => {
                use_token(&broker, &tenant, &token).await.expect(way);
                continue;
            }
        }
        assert_eq!(use_token(&broker, &tenant, &token).await, None, "{way}");
    }
}

#[tokio::test]
async fn a_token_is_its_users_and_cookies_can_be_made_up() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let token = remember(&broker, &tenant, &phone).await;
    let elsewhere = broker.tenant().await;
    broker.phone(&elsewhere, "tom").await;
    broker.phone(&tenant, "ann").await;
    for (whose, user) in [(&tenant, "ann"), (&elsewhere, "tom")] {
        let request = v1::CreateChallengeRequest {
            user_id: user.into(),
            ..with_token(&token)
        };
        let asked = create(&broker, whose, request).await;
        assert_eq!(asked.state(), S::Pending, "{user}");
    }
    let last = token.chars().last().unwrap();
    let mut other = token.clone();
    other.pop();
    other.push(if last == '0' { '1' } else { '0' });
    for made_up in [
        other,
        token.to_uppercase(),
        format!("{token}0"),
        token[..40].to_owned(),
        "csb_".into(),
        "x".repeat(9000),
        "\u{202e}\n\0é".into(),
    ] {
        assert_eq!(use_token(&broker, &tenant, &made_up).await, None);
    }
    // Nor have they done any harm.
    use_token(&broker, &tenant, &token).await.expect("counts");
}

#[tokio::test]
async fn where_policy_remembers_none_there_is_no_token() {
    let broker = TestBroker::start().await;
    let tenant = broker
        .tenant_with(v1::TenantPolicy {
            number_matching: v1::NumberMatching::Off.into(),
            browser_days: Some(0),
            ..v1::TenantPolicy::default()
        })
        .await;
    let phone = broker.phone(&tenant, "tom").await;
    assert_eq!(remember(&broker, &tenant, &phone).await, "");
    assert_eq!(forget(&broker, &tenant).await, 0);
    let refused = broker
        .enrollments(&tenant)
        .forget_browsers(v1::ForgetBrowsersRequest::default())
        .await;
    assert_eq!(reason(&refused.unwrap_err()), "INVALID_FIELD");
}
