//! Provider tokens and access tokens: minted once, renewed in time, rotated
//! without a restart.

use device_sim::fault::Fault;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_sends_mint_one_token_of_each_kind() {
    let rig = Rig::start().await;
    let (apns, fcm) = tokio::join!(
        rig.send_many(PushGateway::Apns, 1000),
        rig.send_many(PushGateway::Fcm, 1000),
    );
    assert_all_accepted(&apns);
    assert_all_accepted(&fcm);
    assert_eq!(rig.gateways.apns().counters().jwts, 1);
    let counters = rig.gateways.fcm().token_counters();
    assert_eq!((counters.requests, counters.access_tokens), (1, 1));
}

#[tokio::test]
async fn tokens_are_renewed_for_hours() {
    let rig = Rig::start().await;
    for _ in 0..24 {
        for gateway in [PushGateway::Apns, PushGateway::Fcm] {
            assert_eq!(rig.send(gateway).await, Outcome::Accepted);
        }
        rig.advance_s(15 * 60);
    }
    // Six hours: a new one every fourth quarter at the latest.
    let apns = rig.gateways.apns().counters();
    assert_eq!(apns.outcomes.len(), 1, "{:?}", apns.outcomes);
    assert_eq!(apns.jwts, 6);
    let fcm = rig.gateways.fcm().counters();
    assert_eq!(fcm.outcomes.len(), 1, "{:?}", fcm.outcomes);
    assert_eq!(rig.gateways.fcm().token_counters().access_tokens, 6);
}

#[tokio::test]
async fn an_apns_key_is_rotated_by_pointing_a_link_at_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("apns.p8");
    let rig = Rig::with(GatewaysConfig::default(), |config| {
        for app in &mut config.apns {
            if !link.exists() {
                std::os::unix::fs::symlink(&app.key_file, &link).unwrap();
            }
            app.key_file.clone_from(&link);
            app.key_id.clear();
        }
    })
    .await;
    assert_eq!(rig.send(PushGateway::Apns).await, Outcome::Accepted);
    let credentials = rig.gateways.credentials();
    let new = credentials
        .issue_apns_key("EXAMPLETM1", "EXAMPLEKY2")
        .unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&new.path, &link).unwrap();
    rig.advance_s(60);
    assert_eq!(rig.send(PushGateway::Apns).await, Outcome::Accepted);
    assert_eq!(rig.gateways.apns().counters().jwts, 1, "too young to go");

    assert!(credentials.revoke_apns_key("EXAMPLEKY1"));
    let outcomes = rig.send_many(PushGateway::Apns, 50).await;
    assert_all_accepted(&outcomes);
    assert_eq!(rig.gateways.apns().counters().jwts, 2);
    assert_eq!(rig.senders.alarms(), []);
}

#[tokio::test]
async fn a_revoked_apns_key_alarms_and_says_nothing_of_the_device() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(PushGateway::Apns).await, Outcome::Accepted);
    rig.gateways.credentials().revoke_apns_key("EXAMPLEKY1");
    let expected = Outcome::CredentialRejected {
        reason: "InvalidProviderToken".into(),
    };
    assert_eq!(rig.send(PushGateway::Apns).await, expected);
    let alarms = rig.senders.alarms();
    assert_eq!(alarms[0].credential, "EXAMPLETM1/EXAMPLEKY1");
    assert_eq!(alarms[0].reason, "InvalidProviderToken");
    assert_eq!(rig.send(PushGateway::Fcm).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_service_account_is_rotated_by_replacing_its_file() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(PushGateway::Fcm).await, Outcome::Accepted);
    let fcm = rig.gateways.fcm();
    let credentials = rig.gateways.credentials();
    credentials
        .issue_fcm_account(PROJECT, &fcm.token_uri(), true)
        .unwrap();
    assert!(credentials.revoke_fcm_keys(PROJECT).unwrap());
    fcm.revoke_access_tokens();
    rig.advance_s(5);
    let outcomes = rig.send_many(PushGateway::Fcm, 50).await;
    assert_all_accepted(&outcomes);
    assert_eq!(fcm.token_counters().access_tokens, 2);
    assert_eq!(rig.senders.alarms(), []);
}

#[tokio::test]
async fn revoked_access_tokens_are_replaced_in_the_same_send() {
    let rig = Rig::start().await;
    for _ in 0..3 {
        assert_eq!(rig.send(PushGateway::Fcm).await, Outcome::Accepted);
        assert!(rig.gateways.fcm().revoke_access_tokens() > 0);
    }
    assert_eq!(rig.gateways.fcm().token_counters().access_tokens, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_callers_share_one_refused_exchange() {
    let rig = Rig::start().await;
    let faults = rig.gateways.faults("fcm-token").unwrap();
    faults.schedule([Fault::Unregistered]);
    let outcomes = rig.send_many(PushGateway::Fcm, 250).await;
    let expected = Outcome::CredentialRejected {
        reason: "invalid_grant: Scripted fault.".into(),
    };
    assert_eq!(tally(&outcomes), tally(&vec![expected; 250]));
    assert_eq!(rig.gateways.fcm().token_counters().requests, 1);
    assert!(!rig.senders.alarms().is_empty());
    rig.advance_s(10);
    assert_eq!(rig.send(PushGateway::Fcm).await, Outcome::Accepted);
    assert_eq!(rig.senders.alarms(), []);
}
