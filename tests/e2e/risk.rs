//! Numbers to type when something is out of the ordinary, and somebody with the
//! right password who asks and asks.

use std::time::Duration;

use countersign_proto::v1::{self, ChallengeState as S, Decision, DecisionReason as R, RiskReason};
use countersign_tests::{
    Tenant, TestBroker, end,
    push::{PushWorld, Said},
    reason, sign_in,
};
use device_sim::gateway::Vendor;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    audit::{admin_with, list},
    browsers::{answer, create, remember, ticked, with_token},
};

fn from(
    request: v1::CreateChallengeRequest,
    client_address: &str,
    location: &str,
) -> v1::CreateChallengeRequest {
    let context = v1::SignInContext {
        client_address: client_address.into(),
        location: location.into(),
        ..request.context.clone().unwrap()
    };
    v1::CreateChallengeRequest {
        context: Some(context),
        ..request
    }
}

fn risks(challenge: &v1::Challenge) -> Vec<RiskReason> {
    challenge.risk_reasons().collect()
}

/// One more sign-in, approved with the number that is asked for.
async fn approve(
    broker: &TestBroker,
    tenant: &Tenant,
    phone: &device_sim::phone::Phone,
    request: v1::CreateChallengeRequest,
) -> v1::Challenge {
    let asked = create(broker, tenant, request).await;
    assert_eq!(
        asked.number_to_match.len(),
        if asked.risk_reasons.is_empty() { 0 } else { 2 }
    );
    answer(phone, Decision::Approve, &asked.number_to_match).await;
    let approved = broker.get(tenant, &asked.challenge_id).await;
    assert_eq!(end(&approved), (S::Approved, R::UserApproved));
    approved
}

#[tokio::test]
async fn a_number_is_asked_for_when_something_is_out_of_the_ordinary() {
    use RiskReason::{NewNetwork, NewPlace, RecentDenial, RecentFailures, UnknownBrowser};
    let mut broker = TestBroker::start().await;
    let tenant = broker
        .tenant_with(v1::TenantPolicy {
            number_matching: v1::NumberMatching::WhenRisky.into(),
            ..v1::TenantPolicy::default()
        })
        .await;
    let phone = broker.phone(&tenant, "tom").await;
    // The first of all comes from anywhere.
    let first = approve(&broker, &tenant, &phone, ticked()).await;
    assert_eq!(risks(&first), [UnknownBrowser, NewNetwork, NewPlace]);
    broker.restart().await;
    let phone = broker.moved(&phone);

    // A browser that is known, and whose days are over.
    broker.pass(Duration::from_secs(31 * 86_400));
    let token = first.remembered_browser_token;
    let request = || with_token(&token);
    let ordinary = approve(&broker, &tenant, &phone, request()).await;
    assert!(risks(&ordinary).is_empty());
    let unknown = approve(&broker, &tenant, &phone, sign_in("tom")).await;
    assert_eq!(risks(&unknown), [UnknownBrowser]);

    // The same network and the same place, otherwise written.
    let near = from(request(), "198.51.100.200", " gent, BELGIË ");
    let near = approve(&broker, &tenant, &phone, near).await;
    assert!(risks(&near).is_empty());
    let moved = || from(request(), "198.51.101.7", "Gent, België");
    let away = approve(&broker, &tenant, &phone, moved()).await;
    assert_eq!(risks(&away), [NewNetwork]);
    let away = approve(&broker, &tenant, &phone, moved()).await;
    assert!(risks(&away).is_empty(), "known by now");
    let abroad = from(request(), "198.51.100.7", "Lagos");
    let abroad = create(&broker, &tenant, abroad).await;
    assert_eq!(risks(&abroad), [NewPlace]);

    answer(&phone, Decision::Deny, "").await;
    let after = approve(&broker, &tenant, &phone, request()).await;
    assert_eq!(risks(&after), [RecentDenial], "nor is the place known now");
    broker.pass(Duration::from_secs(86_400));
    let after = create(&broker, &tenant, sign_in("tom")).await;
    assert_eq!(risks(&after), [UnknownBrowser]);
    let number = &after.number_to_match;
    let wrong = if number == "00" { "11" } else { "00" };
    answer(&phone, Decision::Approve, wrong).await;
    let after = approve(&broker, &tenant, &phone, request()).await;
    assert_eq!(risks(&after), [RecentFailures]);
    let after = approve(&broker, &tenant, &phone, request()).await;
    assert!(risks(&after).is_empty(), "a success ends it");

    // Each is named in the audit trail.
    let (key, _) = broker.api_key(&tenant.id, v1::Role::Admin).await;
    let request = v1::ListAuditEntriesRequest {
        action: "challenge.created".into(),
        ..v1::ListAuditEntriesRequest::default()
    };
    let (all, _) = list(&mut admin_with(&broker, &key), request).await;
    let named: Vec<_> = all.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(
        named,
        [
            "UNKNOWN_BROWSER NEW_NETWORK NEW_PLACE",
            "",
            "UNKNOWN_BROWSER",
            "",
            "NEW_NETWORK",
            "",
            "NEW_PLACE",
            "RECENT_DENIAL",
            "UNKNOWN_BROWSER",
            "RECENT_FAILURES",
            "",
        ]
    );
}

/// Prompts that policy allows to somebody who asks all the time: those that are
/// free, and one after each wait.
fn allowed(rules: &v1::FatiguePolicy, within: Duration) -> usize {
    let seconds = |time: Option<prost_types::Duration>| u64::try_from(time.unwrap().seconds);
    let longest = seconds(rules.longest_wait).unwrap();
    let mut wait = seconds(rules.first_wait).unwrap();
    let mut prompts = usize::try_from(rules.budget()).unwrap();
    let mut passed = wait;
    while passed <= within.as_secs() {
        prompts += 1;
        wait = (2 * wait).min(longest);
        passed += wait;
    }
    prompts
}

/// The budget is the user's: it makes no difference through which of the
/// organisation's identity providers somebody asks, nor that the broker starts
/// anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_of_the_password_asks_a_thousand_times_in_an_hour() {
    const TRIES: u32 = 1000;
    let hour = Duration::from_secs(3600);
    let mut world = PushWorld::start().await;
    let tenant = world.tenant.clone();
    let phone = world.phone(Vendor::Apns, "tom").await;
    let mut token = remember(&world.broker, &tenant, &phone.phone).await;
    let request = v1::GetPolicyRequest {
        tenant_id: tenant.id.clone(),
    };
    let policy = world.broker.admin().get_policy(request).await.unwrap();
    let rules = policy.into_inner().policy.unwrap().fatigue.unwrap();
    let allowed = allowed(&rules, hour);
    // Else nobody would be any the wiser: 5 at once, 8 in the hour.
    assert_eq!(allowed, 13);

    let (other_key, other_id) = world.broker.api_key(&tenant.id, v1::Role::Idp).await;
    let other = Tenant {
        id: tenant.id.clone(),
        api_key: other_key,
        api_key_id: other_id,
    };
    let providers = [&tenant, &other];
    let mut clients = providers.map(|provider| world.broker.approvals(provider));
    let mut asked = 0;
    let mut let_in = 0;
    for n in 0..TRIES {
        if n == TRIES / 2 {
            world.broker.restart().await;
            clients = providers.map(|provider| world.broker.approvals(provider));
        }
        let provider = usize::try_from(n % 2).unwrap();
        match clients[provider].create_challenge(sign_in("tom")).await {
            Ok(_) => asked += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert_eq!(reason(&status), "PROMPT_BUDGET");
                let details = status.get_error_details();
                assert!(details.retry_info().unwrap().retry_delay.is_some());
            }
        }
        // Tom signs in meanwhile, from the browser that is remembered.
        if n % 200 == 150 {
            let made = create(&world.broker, providers[provider], with_token(&token)).await;
            assert_eq!(end(&made), (S::Approved, R::RememberedBrowser));
            token = made.remembered_browser_token;
            let_in += 1;
        }
        world.broker.pass(hour / TRIES);
    }
    assert_eq!(let_in, 5);
    assert!(asked <= allowed, "{asked} prompts");
    // Policy lets somebody through now and then: the limit is one, not a wall.
    assert!(asked > usize::try_from(rules.budget()).unwrap());
    let mut reached = world.gateways.received();
    reached.retain(|push| Said::read(&push.payload).is_some_and(|said| said.kind == "challenge"));
    // One of them was Tom's own.
    assert!(reached.len() <= allowed + 1, "{} pushes", reached.len());
    assert!(reached.len() > 1);
}
