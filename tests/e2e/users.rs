//! What operators and the service desk do for people: lock, unlock, reset.

use countersign_proto::v1::{
    self, ChallengeState as S, DecisionReason as R, LockReason,
    admin_service_client::AdminServiceClient,
};
use countersign_tests::{Bearer, Tenant, TestBroker, end, reason, two_tenants::unknown_id};
use tonic::Code;

fn of(tenant: &Tenant, user: &str) -> v1::GetUserRequest {
    v1::GetUserRequest {
        tenant_id: tenant.id.clone(),
        user_id: user.into(),
    }
}

async fn get(broker: &TestBroker, tenant: &Tenant, user: &str) -> v1::User {
    let answer = broker.admin().get_user(of(tenant, user)).await.unwrap();
    answer.into_inner().user.unwrap()
}

async fn lock(broker: &TestBroker, tenant: &Tenant, user: &str) -> v1::User {
    let v1::GetUserRequest { tenant_id, user_id } = of(tenant, user);
    let request = v1::LockUserRequest { tenant_id, user_id };
    let answer = broker.admin().lock_user(request).await.unwrap();
    answer.into_inner().user.unwrap()
}

async fn unlock(broker: &TestBroker, tenant: &Tenant, user: &str) -> v1::User {
    let v1::GetUserRequest { tenant_id, user_id } = of(tenant, user);
    let request = v1::UnlockUserRequest { tenant_id, user_id };
    let answer = broker.admin().unlock_user(request).await.unwrap();
    answer.into_inner().user.unwrap()
}

#[tokio::test]
async fn a_locked_user_signs_in_nowhere_until_unlocked() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    broker.phone(&tenant, "ann").await;
    let pending = broker.ask(&tenant, "tom").await;
    let anns = broker.ask(&tenant, "ann").await;

    let locked = lock(&broker, &tenant, "tom").await;
    assert_eq!(locked.user_id, "tom");
    assert_eq!(locked.lock.unwrap().reason(), LockReason::Operator);
    let decided = broker.decided(&tenant, &pending.challenge_id).await;
    assert_eq!(end(&decided), (S::Denied, R::LockedOut));
    assert!(phone.list_pending().await.unwrap().challenges.is_empty());
    let again = broker.ask(&tenant, "tom").await;
    assert_eq!(end(&again), (S::Denied, R::LockedOut));

    broker.restart().await;
    let seen = get(&broker, &tenant, "tom").await;
    assert_eq!(seen.lock, locked.lock);
    assert_eq!(seen.authenticators.len(), 1);
    // Others are not touched.
    assert_eq!(get(&broker, &tenant, "ann").await.lock, None);
    let anns = broker.get(&tenant, &anns.challenge_id).await;
    assert_eq!(anns.state(), S::Pending);

    assert_eq!(unlock(&broker, &tenant, "tom").await.lock, None);
    let asked = broker.ask(&tenant, "tom").await;
    let phone = broker.moved(&phone);
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    let decided = broker.decided(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
}

/// Whoever has somebody's password can't register a way in while the account is
/// locked.
#[tokio::test]
async fn nothing_is_registered_for_a_locked_user() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    lock(&broker, &tenant, "tom").await;
    let user_id = || "tom".to_owned();
    let ticket = || v1::CreateEnrollmentRequest {
        user_id: user_id(),
        ttl: None,
    };
    let app = || v1::AddTotpRequest {
        user_id: user_id(),
        account_name: String::new(),
    };
    let codes = || v1::CreateRecoveryCodesRequest { user_id: user_id() };
    let mut idp = broker.enrollments(&tenant);
    for refused in [
        idp.create_enrollment(ticket()).await.unwrap_err(),
        idp.add_totp(app()).await.unwrap_err(),
        idp.create_recovery_codes(codes()).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "ACCOUNT_LOCKED");
    }
    let tom = unlock(&broker, &tenant, "tom").await;
    assert!(tom.authenticators.is_empty(), "{tom:?}");
    idp.create_enrollment(ticket()).await.unwrap();
    idp.add_totp(app()).await.unwrap();
    idp.create_recovery_codes(codes()).await.unwrap();
}

#[tokio::test]
async fn a_reset_takes_everything_away() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    broker
        .enrollments(&tenant)
        .create_recovery_codes(v1::CreateRecoveryCodesRequest {
            user_id: "tom".into(),
        })
        .await
        .unwrap();
    assert_eq!(get(&broker, &tenant, "tom").await.authenticators.len(), 2);
    let pending = broker.ask(&tenant, "tom").await;
    let v1::GetUserRequest { tenant_id, user_id } = of(&tenant, "tom");
    let request = v1::ResetUserRequest { tenant_id, user_id };
    let answer = broker.admin().reset_user(request).await.unwrap();
    assert!(answer.into_inner().user.unwrap().authenticators.is_empty());
    let ended = broker.decided(&tenant, &pending.challenge_id).await;
    assert_ne!(ended.state(), S::Approved);
    // The old phone stops working at that moment.
    let refused = phone.list_pending().await.unwrap_err();
    assert_eq!(refused.status().unwrap().code(), Code::Unauthenticated);
    // They enrol anew.
    broker.phone(&tenant, "tom").await;
    assert_eq!(get(&broker, &tenant, "tom").await.authenticators.len(), 1);
}

#[tokio::test]
async fn people_of_other_organisations_do_not_exist() {
    let broker = TestBroker::start().await;
    let (own, other) = (broker.tenant().await, broker.tenant().await);
    broker.phone(&own, "tom").await;
    broker.phone(&other, "tom").await;
    let (key, _) = broker.api_key(&own.id, v1::Role::Admin).await;
    let mut admin = AdminServiceClient::with_interceptor(broker.channel(), Bearer(key));
    let user_id = "tom".to_owned();
    for tenant_id in [unknown_id(), other.id.clone()] {
        let (tenant_id, user_id) = (|| tenant_id.clone(), || user_id.clone());
        let refusals = [
            admin
                .get_user(v1::GetUserRequest {
                    tenant_id: tenant_id(),
                    user_id: user_id(),
                })
                .await
                .unwrap_err(),
            admin
                .lock_user(v1::LockUserRequest {
                    tenant_id: tenant_id(),
                    user_id: user_id(),
                })
                .await
                .unwrap_err(),
            admin
                .unlock_user(v1::UnlockUserRequest {
                    tenant_id: tenant_id(),
                    user_id: user_id(),
                })
                .await
                .unwrap_err(),
            admin
                .reset_user(v1::ResetUserRequest {
                    tenant_id: tenant_id(),
                    user_id: user_id(),
                })
                .await
                .unwrap_err(),
        ];
        for refused in refusals {
            assert_eq!(refused.code(), Code::NotFound);
            assert_eq!(refused.message(), "tenant not found");
        }
    }
    let theirs = get(&broker, &other, "tom").await;
    assert_eq!((theirs.lock, theirs.authenticators.len()), (None, 1));
    // In its own organisation it may: the same name is another person there.
    let v1::GetUserRequest { tenant_id, user_id } = of(&own, "tom");
    let request = v1::LockUserRequest { tenant_id, user_id };
    admin.lock_user(request).await.unwrap();
    assert!(get(&broker, &own, "tom").await.lock.is_some());
    assert_eq!(get(&broker, &other, "tom").await.lock, None);
    // Of somebody never heard of there is nothing to tell.
    let nobody = get(&broker, &own, "nobody").await;
    let nothing = v1::User {
        user_id: "nobody".into(),
        ..v1::User::default()
    };
    assert_eq!(nobody, nothing);
}
