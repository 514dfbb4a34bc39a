//! Nothing secret in the log, whatever happens and at whatever level: the
//! broker as a process, its libraries included, at TRACE.

mod codes;
mod needles;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, DeliveryState,
};
use countersign_tests::sign_in;
use device_sim::{
    fault::Fault,
    phone::{EnrollOptions, Phone, Ticket},
};
use serde_json::Value;

use self::stage::Stage;

impl Stage {
    /// Everything that operators may ask for.
    async fn administer(&mut self) -> String {
        let admin_key = self.admin_key.clone();
        let mut admin = self.admin(&admin_key);
        let request = v1::CreateTenantRequest {
            display_name: "Eagle IT BVBA".into(),
            policy: Some(v1::TenantPolicy {
                number_matching: v1::NumberMatching::Always.into(),
                number_digits: 6,
                ..v1::TenantPolicy::default()
            }),
            country: "BE".into(),
            ..v1::CreateTenantRequest::default()
        };
        let tenant = admin.create_tenant(request).await.unwrap().into_inner();
        let tenant_id = tenant.tenant.unwrap().tenant_id;
        self.tenant_id.clone_from(&tenant_id);
        let mut keys = Vec::new();
        for role in [v1::Role::Idp, v1::Role::Admin, v1::Role::Idp] {
            let request = v1::CreateApiKeyRequest {
                tenant_id: tenant_id.clone(),
                role: role.into(),
                display_name: "test".into(),
            };
            let made = admin.create_api_key(request).await.unwrap().into_inner();
            self.api_key(&made.api_key);
            keys.push((made.api_key, made.key.unwrap().api_key_id));
        }
        let request = v1::GetTenantRequest {
            tenant_id: tenant_id.clone(),
        };
        admin.get_tenant(request).await.unwrap();
        admin
            .list_tenants(v1::ListTenantsRequest::default())
            .await
            .unwrap();
        let request = v1::ListApiKeysRequest {
            tenant_id: tenant_id.clone(),
        };
        admin.list_api_keys(request).await.unwrap();
        admin
            .rotate_signing_key(v1::RotateSigningKeyRequest::default())
            .await
            .unwrap();
        admin
            .list_signing_keys(v1::ListSigningKeysRequest::default())
            .await
            .unwrap();
        let (revoked, api_key_id) = keys.pop().unwrap();
        admin
            .revoke_api_key(v1::RevokeApiKeyRequest { api_key_id })
            .await
            .unwrap();

        // Keys that open nothing: revoked, of another role, not quite right,
        // nothing like a key.
        let idp = keys[0].0.clone();
        let mut wrong = idp.clone();
        let last = wrong.pop().unwrap();
        wrong.push(if last == 'a' { 'b' } else { 'a' });
        self.api_key(&wrong);
        let stray = "correct horse battery staple";
        self.needles.text("a password by mistake", stray);
        for key in [revoked.as_str(), &keys[1].0, &wrong, stray] {
            let refused = self.approvals(key).create_challenge(sign_in("tom")).await;
            assert!(refused.is_err());
        }
        assert!(
            self.admin(&idp)
                .list_tenants(v1::ListTenantsRequest::default())
                .await
                .is_err()
        );
        idp
    }

    /// Enrolment: scanned, typed, mistyped, spent.
    async fn enroll(&mut self, key: &str) -> (Phone, Phone) {
        let iphone = self.phone(key, "tom", v1::Gateway::Apns).await;
        let ticket = self.ticket(key, "tom").await;
        let broker = format!("http://{}", self.broker.grpc);
        let typed = |code: &str| {
            EnrollOptions::new(Ticket::Code {
                broker: broker.clone(),
                code: code.to_owned(),
            })
        };
        let mut mistyped = ticket.manual_code.clone();
        let last = mistyped.pop().unwrap();
        mistyped.push(if last == '7' { '8' } else { '7' });
        self.needles.text("mistyped ticket", &mistyped);
        Phone::enroll(typed(&mistyped)).await.unwrap_err();
        let mut options = typed(&ticket.manual_code);
        options.push = Some(self.token(v1::Gateway::Fcm));
        let android = Phone::enroll(options).await.unwrap();
        Phone::enroll(typed(&ticket.manual_code)).await.unwrap_err();
        let request = v1::ListAuthenticatorsRequest {
            user_id: "tom".into(),
        };
        self.enrollments(key)
            .list_authenticators(request)
            .await
            .unwrap();
        (iphone, android)
    }

    /// Every way for a challenge to end.
    async fn decide(&mut self, key: &str, iphone: &Phone, android: &Phone) {
        // "Don't ask again": a token, and the one that follows it.
        let mut approvals = self.approvals(key);
        let mut request = sign_in("tom");
        request.remember_browser = true;
        let asked = approvals.create_challenge(request).await.unwrap();
        let asked = asked.into_inner().challenge.unwrap();
        let pending = iphone.list_pending().await.unwrap().challenges;
        let (number, challenge_id) = (&asked.number_to_match, asked.challenge_id.clone());
        iphone
            .respond(&pending[0], Decision::Approve, number)
            .await
            .unwrap();
        let request = v1::GetChallengeRequest { challenge_id };
        let approved = approvals.get_challenge(request).await.unwrap();
        let mut token = approved
            .into_inner()
            .challenge
            .unwrap()
            .remembered_browser_token;
        // The third time with one that was used.
        for end in [R::RememberedBrowser, R::Unspecified] {
            // Before the hash stand ids, which may be known.
            self.needles.text("browser token", &token[69..]);
            let mut request = sign_in("tom");
            request.browser_token.clone_from(&token);
            let made = approvals.create_challenge(request).await.unwrap();
            let made = made.into_inner().challenge.unwrap();
            assert_eq!(made.reason(), end);
            let next = made.remembered_browser_token;
            if !next.is_empty() {
                self.needles.text("browser token", &next[69..]);
            }
            token.truncate(133);
        }
        let wrong_number = "000000";
        for (decision, right, end) in [
            (Decision::Approve, true, (S::Approved, R::UserApproved)),
            (Decision::Deny, true, (S::Denied, R::UserDenied)),
            (Decision::Approve, false, (S::Denied, R::WrongNumber)),
            (Decision::ReportFraud, true, (S::Denied, R::FraudReported)),
        ] {
            let asked = self.ask(key, "tom").await;
            self.pushed(key, &asked).await;
            let subscription = android.subscribe().await.unwrap();
            let pending = iphone.list_pending().await.unwrap().challenges;
            iphone.acknowledge(&asked.challenge_id).await.unwrap();
            let number = match (decision, right) {
                (Decision::Approve, true) => asked.number_to_match.as_str(),
                (Decision::Approve, false) => {
                    assert_ne!(asked.number_to_match, wrong_number, "run it again");
                    wrong_number
                }
                _ => "",
            };
            let told = iphone.respond(&pending[0], decision, number).await.unwrap();
            assert_eq!((told.state(), told.reason()), end);
            drop(subscription);
        }
        // Ended by a newer one, by the caller.
        self.ask(key, "tom").await;
        let asked = self.ask(key, "tom").await;
        let id = || asked.challenge_id.clone();
        // A signature that is not the phone's.
        let pending = iphone.list_pending().await.unwrap().challenges;
        let body = iphone.response_body(&pending[0], Decision::Approve, &asked.number_to_match);
        let mut response = iphone.sign_response(&body).unwrap();
        response.signature = vec![7; 64].into();
        iphone.send_response(response).await.unwrap_err();
        let mut approvals = self.approvals(key);
        let request = v1::CancelChallengeRequest { challenge_id: id() };
        approvals.cancel_challenge(request).await.unwrap();
        let request = v1::GetChallengeRequest { challenge_id: id() };
        approvals.get_challenge(request).await.unwrap();
    }

    /// Gateways in trouble, and the broker's credentials refused.
    async fn trouble(&mut self, key: &str) {
        let refused = Fault::Reply {
            status: 403,
            reason: "Forbidden".into(),
            retry_after: None,
        };
        let faults = [
            Fault::Unregistered,
            Fault::BadDeviceToken,
            Fault::Disconnect,
            Fault::RefuseStream,
            Fault::TooManyRequests { retry_after: None },
            refused,
        ];
        for (gateway, name) in [(v1::Gateway::Apns, "apns"), (v1::Gateway::Fcm, "fcm")] {
            for (number, fault) in faults.iter().enumerate() {
                let user = format!("{name}-{number}");
                self.phone(key, &user, gateway).await;
                self.gateways
                    .faults(name)
                    .unwrap()
                    .schedule([fault.clone()]);
                let asked = self.ask(key, &user).await;
                self.pushed(key, &asked).await;
            }
        }
        self.gateways.credentials().revoke_apns_key("EXAMPLEKY1");
        self.gateways.fcm().revoke_access_tokens();
        let token_endpoint = self.gateways.faults("fcm-token").unwrap();
        token_endpoint.schedule([Fault::Unregistered]);
        for (gateway, user) in [(v1::Gateway::Apns, "ann"), (v1::Gateway::Fcm, "jan")] {
            let phone = self.phone(key, user, gateway).await;
            let asked = self.ask(key, user).await;
            let pushed = self.pushed(key, &asked).await;
            assert_eq!(pushed.deliveries[0].state(), DeliveryState::Failed);
            let other = self.token(gateway);
            phone.update_push_token(Some(other)).await.unwrap();
            phone.unenroll().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_in_the_log_at_trace() {
    let mut stage = Stage::start().await;
    let idp = stage.administer().await;
    let (iphone, android) = stage.enroll(&idp).await;
    stage.decide(&idp, &iphone, &android).await;
    stage.trouble(&idp).await;
    let mut pages = stage.codes(&idp).await;
    for page in ["readyz", "metrics", ".well-known/jwks.json"] {
        let url = format!("http://{}/{page}", stage.broker.http);
        pages.push(reqwest::get(url).await.unwrap().text().await.unwrap());
    }
    assert!(stage.broker.terminate().success());
    stage.files().await;

    let log = stage.broker.log();
    let mut found = BTreeMap::new();
    for line in log.iter().chain(&pages) {
        // Six digits of a second are no number to match.
        let (_, line) = line.split_once(r#","level":"#).unwrap_or(("", line));
        let codes = stage.never_stored.found_in(line);
        for name in stage.needles.found_in(line).into_iter().chain(codes) {
            found.entry(name).or_insert(line);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let stored = stage.stored();
    assert!(stored.iter().any(|(_, content)| content.contains("tom")));
    for (file, content) in &stored {
        let found = stage.never_stored.found_in(content);
        assert!(found.is_empty(), "{file}: {found:?}");
    }
    everything_was_logged(&stage, &log);
}

/// Else nothing found would mean nothing.
fn everything_was_logged(stage: &Stage, log: &[String]) {
    let events: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let targets: BTreeSet<_> = events
        .iter()
        .filter(|event| event["level"] == "TRACE" || event["level"] == "DEBUG")
        .filter_map(|event| event["target"].as_str()?.split("::").next())
        .collect();
    for library in ["countersign_server", "h2", "hyper_util", "rustls"] {
        assert!(targets.contains(library), "{library} is not in {targets:?}");
    }
    let alarmed = |event: &&Value| event["level"] == "ERROR";
    assert!(
        events.iter().any(|event| alarmed(&event)),
        "credential trouble"
    );

    // One span per attempt: as many as reached the gateways, and those that a
    // fault cut off or that ended before the gateway was asked.
    let mut attempts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event["message"] == "push attempt ended")
    {
        let span = &event["span"];
        assert_eq!(span["name"], "push_attempt");
        assert!(
            span["outcome"].is_string() && span["attempt"].is_u64(),
            "{event}"
        );
        let text = |key: &str| span[key].as_str().unwrap().to_owned();
        *attempts
            .entry((text("gateway"), text("push_id")))
            .or_default() += 1;
    }
    let mut arrived = BTreeMap::new();
    for arrival in stage.gateways.received() {
        if arrival.gateway == "apns" {
            *arrived.entry(arrival.id.clone()).or_insert(0) += 1;
        }
    }
    assert!(!arrived.is_empty());
    for (id, count) in arrived {
        let key = ("apns".to_owned(), id);
        assert_eq!(attempts.get(&key), Some(&count), "{key:?}");
    }
    assert!(attempts.keys().any(|(gateway, _)| gateway == "fcm"));
    assert!(log.len() > 1000);
}
