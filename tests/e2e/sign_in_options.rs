//! Whom policy asks, and what a sign-in page has to show next.

use std::time::Duration;

use countersign_proto::v1::{
    self, ChallengeState as S, Enforcement, EnrollmentChoice as C, Method, NextStep as N,
};
use countersign_tests::{START_MS, Tenant, TestBroker, reason, sign_in, two_tenants::unknown_id};
use tonic::{Code, Status};

fn policy(enrollment: v1::EnrollmentPolicy) -> v1::TenantPolicy {
    v1::TenantPolicy {
        number_matching: v1::NumberMatching::Off.into(),
        enrollment: Some(enrollment),
        ..v1::TenantPolicy::default()
    }
}

fn enforced(enforcement: Enforcement) -> v1::EnrollmentPolicy {
    v1::EnrollmentPolicy {
        enforcement: enforcement.into(),
        ..v1::EnrollmentPolicy::default()
    }
}

/// Seconds after the clock's start.
fn at(seconds: u64) -> Option<prost_types::Timestamp> {
    let seconds = i64::try_from(START_MS / 1000 + seconds).unwrap();
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

async fn options(broker: &TestBroker, tenant: &Tenant, user: &str) -> v1::GetSignInOptionsResponse {
    let request = v1::GetSignInOptionsRequest {
        user_id: user.into(),
        browser_token: String::new(),
    };
    let options = broker.approvals(tenant).get_sign_in_options(request).await;
    options.unwrap().into_inner()
}

async fn step(broker: &TestBroker, tenant: &Tenant, user: &str) -> N {
    options(broker, tenant, user).await.next_step()
}

async fn snooze(broker: &TestBroker, tenant: &Tenant, user: &str) -> Result<u32, Status> {
    let request = v1::SnoozeEnrollmentRequest {
        user_id: user.into(),
    };
    let snoozed = broker.enrollments(tenant).snooze_enrollment(request).await;
    Ok(snoozed?.into_inner().snoozes_left)
}

async fn set_listed(broker: &TestBroker, tenant: &Tenant, user: &str, listed: bool) -> v1::User {
    let request = v1::SetUserEnrollmentRequest {
        tenant_id: tenant.id.clone(),
        user_id: user.into(),
        listed,
    };
    let set = broker.admin().set_user_enrollment(request).await;
    set.unwrap().into_inner().user.unwrap()
}

async fn update(broker: &TestBroker, tenant: &Tenant, policy: v1::TenantPolicy) {
    let request = v1::UpdatePolicyRequest {
        tenant_id: tenant.id.clone(),
        policy: Some(policy),
        ..v1::UpdatePolicyRequest::default()
    };
    broker.admin().update_policy(request).await.unwrap();
}

#[tokio::test]
async fn switched_on_at_the_time_agreed() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant_with(policy(enforced(Enforcement::Off))).await;
    broker.phone(&tenant, "tom").await;
    let asked = options(&broker, &tenant, "tom").await;
    assert_eq!(
        asked,
        v1::GetSignInOptionsResponse {
            next_step: N::NothingToAsk.into(),
            ..v1::GetSignInOptionsResponse::default()
        }
    );
    // A caller who asks in any case is not told "approved".
    let made = broker.ask(&tenant, "tom").await;
    assert_eq!(made.state(), S::Pending);

    let agreed = v1::EnrollmentPolicy {
        start_time: at(3600),
        ..enforced(Enforcement::Required)
    };
    update(&broker, &tenant, policy(agreed)).await;
    assert_eq!(step(&broker, &tenant, "tom").await, N::NothingToAsk);
    broker.pass(Duration::from_secs(3599));
    broker.restart().await;
    assert_eq!(step(&broker, &tenant, "tom").await, N::NothingToAsk);
    broker.pass(Duration::from_secs(1));
    assert_eq!(step(&broker, &tenant, "tom").await, N::Approve);
    assert_eq!(step(&broker, &tenant, "ann").await, N::Enroll);
}

#[tokio::test]
async fn for_listed_users_only() {
    let mut broker = TestBroker::start().await;
    let listed_only = v1::EnrollmentPolicy {
        listed_users_only: Some(true),
        ..enforced(Enforcement::Required)
    };
    let tenant = broker.tenant_with(policy(listed_only)).await;
    assert_eq!(step(&broker, &tenant, "tom").await, N::NothingToAsk);
    assert!(set_listed(&broker, &tenant, "tom", true).await.listed);
    broker.restart().await;
    assert_eq!(step(&broker, &tenant, "tom").await, N::Enroll);
    assert_eq!(step(&broker, &tenant, "ann").await, N::NothingToAsk);
    assert!(!set_listed(&broker, &tenant, "tom", false).await.listed);
    assert_eq!(step(&broker, &tenant, "tom").await, N::NothingToAsk);
    let request = v1::SetUserEnrollmentRequest {
        tenant_id: unknown_id(),
        user_id: "tom".into(),
        listed: true,
    };
    let refused = broker.admin().set_user_enrollment(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn registering_may_be_put_off_so_often_and_so_long() {
    let mut broker = TestBroker::start().await;
    let encouraged = v1::EnrollmentPolicy {
        max_snoozes: Some(2),
        ..enforced(Enforcement::Encouraged)
    };
    let tenant = broker.tenant_with(policy(encouraged)).await;
    let shown = options(&broker, &tenant, "tom").await;
    assert_eq!(shown.next_step(), N::EnrollOrSnooze);
    assert_eq!((shown.snoozes_left, shown.snooze_until), (2, None));
    // No gateway for text messages is configured.
    let choices: Vec<_> = shown.enrollment_choices().collect();
    assert_eq!(choices, [C::MobileApp, C::TotpApp]);
    // Somebody who was never heard of looks the same.
    assert_eq!(options(&broker, &tenant, "nobody").await, shown);
    assert_eq!(snooze(&broker, &tenant, "tom").await.unwrap(), 1);
    broker.restart().await;
    assert_eq!(options(&broker, &tenant, "tom").await.snoozes_left, 1);
    assert_eq!(snooze(&broker, &tenant, "tom").await.unwrap(), 0);
    let shown = options(&broker, &tenant, "tom").await;
    assert_eq!((shown.next_step(), shown.snoozes_left), (N::Enroll, 0));
    let refused = snooze(&broker, &tenant, "tom").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NO_SNOOZE")
    );

    // Ann still may, until a time.
    let until = v1::EnrollmentPolicy {
        snooze_until: at(3600),
        ..encouraged
    };
    update(&broker, &tenant, policy(until)).await;
    let shown = options(&broker, &tenant, "ann").await;
    assert_eq!((shown.snoozes_left, shown.snooze_until), (2, at(3600)));
    broker.pass(Duration::from_secs(3600));
    assert_eq!(step(&broker, &tenant, "ann").await, N::Enroll);
    snooze(&broker, &tenant, "ann").await.unwrap_err();

    // Where it is required, or has been done, there is nothing to put off.
    update(&broker, &tenant, policy(enforced(Enforcement::Required))).await;
    snooze(&broker, &tenant, "bob").await.unwrap_err();
    let plain = v1::EnrollmentPolicy {
        snooze_until: at(7200),
        ..enforced(Enforcement::Encouraged)
    };
    update(&broker, &tenant, policy(plain)).await;
    assert_eq!(step(&broker, &tenant, "bob").await, N::EnrollOrSnooze);
    broker.phone(&tenant, "bob").await;
    assert_eq!(step(&broker, &tenant, "bob").await, N::Approve);
    snooze(&broker, &tenant, "bob").await.unwrap_err();
}

/// What a page is told to show is what a challenge then does.
#[tokio::test]
async fn the_first_method_is_the_one_that_is_asked_by() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let request = v1::CreateRecoveryCodesRequest {
        user_id: "tom".into(),
    };
    let mut enrollments = broker.enrollments(&tenant);
    enrollments.create_recovery_codes(request).await.unwrap();
    let shown = options(&broker, &tenant, "tom").await;
    assert_eq!(shown.next_step(), N::EnterCode);
    assert_eq!(shown.methods[0].method(), Method::RecoveryCode);
    let request = v1::CreateChallengeRequest {
        method: shown.methods[0].method,
        ..sign_in("tom")
    };
    let asked = broker.approvals(&tenant).create_challenge(request).await;
    let asked = asked.unwrap().into_inner().challenge.unwrap();
    assert_eq!(asked.method(), Method::RecoveryCode);
    assert_eq!(asked.state(), S::Pending);

    broker.phone(&tenant, "tom").await;
    let shown = options(&broker, &tenant, "tom").await;
    assert_eq!(shown.next_step(), N::Approve);
    let methods: Vec<_> = shown.methods.iter().map(v1::SignInMethod::method).collect();
    assert_eq!(methods, [Method::Push, Method::RecoveryCode]);
    assert_eq!(shown.methods[0].device_names.len(), 1);
    assert!(shown.methods.iter().all(|method| method.available));
    // Until the user has been asked too often.
    let mut refused = None;
    for _ in 0..6 {
        assert!(refused.is_none());
        let mut approvals = broker.approvals(&tenant);
        refused = approvals.create_challenge(sign_in("tom")).await.err();
        let push = options(&broker, &tenant, "tom").await.methods.remove(0);
        assert_eq!(push.available, push.available_time.is_none());
    }
    assert_eq!(reason(&refused.unwrap()), "PROMPT_BUDGET");
    let push = options(&broker, &tenant, "tom").await.methods.remove(0);
    assert_eq!((push.available, push.available_time), (false, at(10)));
}
