//! Numbers, codes, apps and recovery codes, in good order and in bad.

use countersign_proto::v1::{self, ChallengeState as S, Method};
use countersign_tests::{
    Tenant, TestBroker,
    codes::{code_in, wrong},
    push::patiently,
};
use device_sim::{
    fault::Fault,
    gateway::{Delivery, SmsGateway},
};
use futures_util::TryStreamExt as _;

use super::stage::Stage;

impl Stage {
    fn number(&mut self, number: &str) {
        for text in [number, &number[1..], &number[3..]] {
            self.never_stored.text("phone number", text);
        }
    }

    fn code(&mut self, code: &str) {
        self.never_stored.text("code", code);
    }

    /// The next text to `number` that carries a code.
    async fn next_code(&mut self, number: &str, seq: u64) -> String {
        let text = self.gateways.sms().inbox().wait_for(number, |text| {
            text.seq > seq && text.text.starts_with(|c: char| c.is_ascii_digit())
        });
        let code = code_in(&patiently("a code", text).await.text);
        self.code(&code);
        code
    }

    /// Everything that can be done with codes, by every gateway. What callers were
    /// told of it: refusals, and the audit trail.
    pub(super) async fn codes(&mut self, key: &str) -> Vec<String> {
        let (grpc, http) = (self.broker.grpc.clone(), self.broker.http.clone());
        let broker = TestBroker::elsewhere(self.admin_key.clone(), &grpc, &http);
        let tenant = Tenant {
            id: self.tenant_id.clone(),
            api_key: key.to_owned(),
            api_key_id: String::new(),
        };
        let mut told = Vec::new();
        let all = [SmsGateway::Smpp, SmsGateway::Webhook, SmsGateway::Twilio];
        patiently("a bind", async {
            while self.gateways.sms().smpp().sessions() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for (nth, gateway) in all.into_iter().enumerate() {
            for other in all {
                let faults = self.gateways.faults(other.name()).unwrap();
                faults.set_down(other != gateway);
            }
            let user = format!("sms-{nth}");
            let number = format!("+3247012344{nth}");
            self.number(&number);
            let inbox = self.gateways.sms().inbox().clone();
            let seq = inbox.last_seq();
            let added = broker.add_phone(&tenant, &user, &number).await.unwrap();
            let id = added.authenticator.clone().unwrap().authenticator_id;
            told.push(format!("{added:?}"));
            let code = self.next_code(&number, seq).await;
            let mistyped = wrong(&code);
            self.code(&mistyped);
            let refused = broker.confirm_phone(&tenant, &user, &id, &mistyped).await;
            told.push(format!("{:?}", refused.unwrap_err()));
            broker
                .confirm_phone(&tenant, &user, &id, &code)
                .await
                .unwrap();

            let seq = inbox.last_seq();
            let asked = broker.ask_by(&tenant, &user, Method::Sms).await.unwrap();
            let code = self.next_code(&number, seq).await;
            let mistyped = wrong(&code);
            self.code(&mistyped);
            let refused = broker.verify(&tenant, &asked.challenge_id, &mistyped).await;
            told.push(format!("{:?}", refused.unwrap_err()));
            let refused = broker
                .send_code(&tenant, &asked.challenge_id, Method::Sms)
                .await;
            told.push(format!("{:?}", refused.unwrap_err()));
            let decided = broker.verify(&tenant, &asked.challenge_id, &code).await;
            let decided = decided.unwrap();
            told.push(format!("{:?}", (decided.code_delivery, decided.deliveries)));
            let again = broker.verify(&tenant, &asked.challenge_id, &code).await;
            told.push(format!("{:?}", again.unwrap_err()));

            // The network gives up on it, then the gateway refuses us.
            inbox.set_delivery(&number, Some(Delivery::Undelivered { error_code: 30003 }));
            broker.ask_by(&tenant, &user, Method::Sms).await.unwrap();
            let refused = Fault::Reply {
                status: 401,
                reason: "Authenticate".into(),
                retry_after: None,
            };
            self.gateways
                .faults(gateway.name())
                .unwrap()
                .schedule([refused]);
            let asked = broker.ask_by(&tenant, &user, Method::Sms).await.unwrap();
            told.push(format!("{asked:?}"));
        }
        for gateway in all {
            self.gateways.faults(gateway.name()).unwrap().clear();
            self.gateways
                .faults(gateway.name())
                .unwrap()
                .set_down(false);
        }
        for number in ["+33612345678", "0470998877", "+3247099887766554433"] {
            self.number(number);
            let refused = broker.add_phone(&tenant, "tom", number).await;
            told.push(format!("{:?}", refused.unwrap_err()));
        }

        let app = broker.totp(&tenant, "totp").await;
        self.never_stored.bytes("TOTP secret", app.secret());
        let secret = base32(app.secret());
        self.never_stored.text("TOTP secret as typed", &secret);
        let asked = broker.ask_by(&tenant, "totp", Method::Totp).await.unwrap();
        let code = app.code(broker.now_ms());
        for code in [&wrong(&code), &code] {
            self.code(code);
            match broker.verify(&tenant, &asked.challenge_id, code).await {
                Ok(decided) => assert_eq!(decided.state(), S::Approved),
                Err(refused) => told.push(format!("{refused:?}")),
            }
        }

        let sheet = broker.recovery_codes(&tenant, "sheet").await;
        for code in &sheet {
            self.never_stored.text("recovery code", code);
            let plain = code.replace('-', "");
            self.never_stored.text("recovery code as typed", &plain);
        }
        let asked = broker
            .ask_by(&tenant, "sheet", Method::RecoveryCode)
            .await
            .unwrap();
        let never = "0123-4567-89AB-CDEF";
        self.never_stored.text("mistyped recovery code", never);
        for code in [never, &sheet[0].to_lowercase(), &sheet[0]] {
            let verified = broker.verify(&tenant, &asked.challenge_id, code).await;
            if let Err(refused) = verified {
                told.push(format!("{refused:?}"));
            }
        }

        // The audit trail, as read and as exported.
        let entries = broker.audited(&tenant).await;
        assert!(entries.iter().any(|entry| entry.action == "code.verified"));
        for entry in entries {
            told.push(String::from_utf8_lossy(&entry.content).into_owned());
            told.push(format!("{entry:?}"));
        }
        let request = v1::ExportAuditRequest {
            tenant_id: tenant.id.clone(),
        };
        let export = broker.admin().export_audit(request).await.unwrap();
        let lines: Vec<_> = export.into_inner().try_collect().await.unwrap();
        told.extend(lines.iter().map(|line| format!("{line:?}")));
        let listed = broker.authenticators(&tenant, "sms-0").await;
        told.push(format!("{listed:?}"));
        told
    }
}

/// RFC 4648, section 6.
fn base32(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    bits.as_bytes()
        .chunks(5)
        .map(|five| {
            let five = std::str::from_utf8(five).unwrap();
            char::from(letters[usize::from_str_radix(five, 2).unwrap()])
        })
        .collect()
}
