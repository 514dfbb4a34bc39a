//! Codes as people meet them: read from a text message, from an authenticator
//! app, from a sheet of paper.

use aws_lc_rs::hmac;
use countersign_proto::v1;
use device_sim::gateway::{Inbox, TextMessage};
use tonic::Status;

use crate::{
    Tenant, TestBroker,
    push::{PushWorld, patiently},
};

/// Seconds of a step of an authenticator app (RFC 6238, section 4.1).
pub const STEP: u64 = 30;

/// The code in a text: its first word.
pub fn code_in(text: &str) -> String {
    let code: String = text.chars().take_while(char::is_ascii_digit).collect();
    assert!(code.len() >= 4, "no code first: {text:?}");
    code
}

/// Another code of the same length.
pub fn wrong(code: &str) -> String {
    let mut digits = code.to_owned();
    let last = digits.pop().unwrap();
    digits.push(if last == '7' { '3' } else { '7' });
    digits
}

/// An authenticator app: RFC 6238 written out, apart from the broker's.
#[derive(Clone, Debug)]
pub struct App {
    /// As the broker knows it.
    pub id: String,
    secret: Vec<u8>,
}

impl App {
    /// As from a QR code's `otpauth:` address.
    pub fn scan(id: &str, otpauth: &str) -> Self {
        let (_, query) = otpauth.split_once('?').unwrap();
        let secret = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("secret="))
            .unwrap();
        Self {
            id: id.into(),
            secret: base32(secret),
        }
    }

    /// What it shares with the broker.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// What it shows at a time.
    pub fn code(&self, unix_ms: u64) -> String {
        self.code_of(unix_ms / 1000 / STEP)
    }

    /// What it shows in a step (RFC 4226, section 5.3).
    pub fn code_of(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let hash = hmac::sign(&key, &step.to_be_bytes());
        let hash = hash.as_ref();
        let at = usize::from(hash[19] & 0xf);
        let word = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap());
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }
}

/// RFC 4648, section 6, without padding.
fn base32(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            other => panic!("not base32: {other}"),
        };
        held = (held << 5 | u32::from(value)) & 0xffff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

/// RFC 6238, appendix B, the last six digits.
#[test]
fn the_app_is_as_the_rfc_has_it() {
    let app = App::scan(
        "",
        "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=x",
    );
    assert_eq!(app.secret, b"12345678901234567890");
    for (seconds, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_234_567_890, "005924"),
        (20_000_000_000, "353130"),
    ] {
        assert_eq!(app.code(seconds * 1000), code);
    }
}

impl TestBroker {
    /// The broker's time.
    pub fn now_ms(&self) -> u64 {
        let now = self.phone_clock()();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_millis().try_into().unwrap()
    }

    /// Adds an authenticator app and leaves it unconfirmed.
    pub async fn add_totp(&self, tenant: &Tenant, user: &str) -> App {
        let added = self
            .enrollments(tenant)
            .add_totp(v1::AddTotpRequest {
                user_id: user.into(),
                account_name: String::new(),
            })
            .await
            .unwrap()
            .into_inner();
        let app = App::scan(
            &added.authenticator.unwrap().authenticator_id,
            &added.otpauth_uri,
        );
        assert_eq!(app.secret, base32(&added.secret));
        app
    }

    /// Adds an authenticator app and confirms it, by the code of the step before
    /// this one: this one's is still to be used.
    pub async fn totp(&self, tenant: &Tenant, user: &str) -> App {
        let app = self.add_totp(tenant, user).await;
        let code = app.code(self.now_ms() - STEP * 1000);
        self.confirm_totp(tenant, user, &app, &code).await.unwrap();
        app
    }

    pub async fn confirm_totp(
        &self,
        tenant: &Tenant,
        user: &str,
        app: &App,
        code: &str,
    ) -> Result<v1::Authenticator, Status> {
        let request = v1::ConfirmTotpRequest {
            user_id: user.into(),
            authenticator_id: app.id.clone(),
            code: code.into(),
        };
        let confirmed = self.enrollments(tenant).confirm_totp(request).await?;
        Ok(confirmed.into_inner().authenticator.unwrap())
    }

    /// A fresh sheet of recovery codes.
    pub async fn recovery_codes(&self, tenant: &Tenant, user: &str) -> Vec<String> {
        let request = v1::CreateRecoveryCodesRequest {
            user_id: user.into(),
        };
        let mut enrollments = self.enrollments(tenant);
        let made = enrollments.create_recovery_codes(request).await.unwrap();
        made.into_inner().codes
    }

    pub async fn add_phone(
        &self,
        tenant: &Tenant,
        user: &str,
        number: &str,
    ) -> Result<v1::AddPhoneResponse, Status> {
        let request = v1::AddPhoneRequest {
            user_id: user.into(),
            phone_number: number.into(),
            language: "nl-BE".into(),
        };
        let added = self.enrollments(tenant).add_phone(request).await?;
        Ok(added.into_inner())
    }

    pub async fn confirm_phone(
        &self,
        tenant: &Tenant,
        user: &str,
        id: &str,
        code: &str,
    ) -> Result<v1::Authenticator, Status> {
        let request = v1::ConfirmPhoneRequest {
            user_id: user.into(),
            authenticator_id: id.into(),
            code: code.into(),
        };
        let confirmed = self.enrollments(tenant).confirm_phone(request).await?;
        Ok(confirmed.into_inner().authenticator.unwrap())
    }

    /// "Sign in another way".
    pub async fn send_code(
        &self,
        tenant: &Tenant,
        id: &str,
        method: v1::Method,
    ) -> Result<v1::Challenge, Status> {
        let request = v1::SendCodeRequest {
            challenge_id: id.into(),
            method: method.into(),
        };
        let sent = self.approvals(tenant).send_code(request).await?;
        Ok(sent.into_inner().challenge.unwrap())
    }

    /// Types a code on the sign-in page.
    pub async fn verify(
        &self,
        tenant: &Tenant,
        id: &str,
        code: &str,
    ) -> Result<v1::Challenge, Status> {
        let request = v1::VerifyCodeRequest {
            challenge_id: id.into(),
            code: code.into(),
        };
        let verified = self.approvals(tenant).verify_code(request).await?;
        Ok(verified.into_inner().challenge.unwrap())
    }

    /// Asks `user` by one method.
    pub async fn ask_by(
        &self,
        tenant: &Tenant,
        user: &str,
        method: v1::Method,
    ) -> Result<v1::Challenge, Status> {
        let mut request = crate::sign_in(user);
        request.method = method.into();
        let created = self.approvals(tenant).create_challenge(request).await?;
        Ok(created.into_inner().challenge.unwrap())
    }

    /// What the audit trail of an organisation says, oldest first.
    pub async fn audited(&self, tenant: &Tenant) -> Vec<v1::AuditEntry> {
        let mut all = Vec::new();
        let mut request = v1::ListAuditEntriesRequest {
            tenant_id: tenant.id.clone(),
            ..v1::ListAuditEntriesRequest::default()
        };
        loop {
            let mut admin = self.admin();
            let page = admin.list_audit_entries(request.clone()).await.unwrap();
            let page = page.into_inner();
            all.extend(page.entries);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The value of a metric with these labels, 0 when it was never counted.
    pub async fn metric(&self, name: &str, labels: &str) -> u64 {
        let url = format!("http://{}/metrics", self.http);
        let page = reqwest::get(url).await.unwrap().text().await.unwrap();
        let key = if labels.is_empty() {
            format!("{name} ")
        } else {
            format!("{name}{{{labels}}} ")
        };
        page.lines()
            .find_map(|line| line.strip_prefix(&key))
            .map_or(0, |value| value.parse().unwrap())
    }
}

impl PushWorld {
    /// What the phones behind the SMS gateways show.
    pub fn inbox(&self) -> &Inbox {
        self.gateways.sms().inbox()
    }

    /// The next text to `number` after those that came before `seq`.
    pub async fn text_after(&self, number: &str, seq: u64) -> TextMessage {
        let next = self.inbox().wait_for(number, |text| text.seq > seq);
        patiently("a text message", next).await
    }

    /// The next code to `number` after those that came before `seq`.
    pub async fn code_after(&self, number: &str, seq: u64) -> String {
        code_in(&self.text_after(number, seq).await.text)
    }

    /// Adds a number to `user` and confirms it by the code that is texted. Its id.
    pub async fn phone_number(&self, user: &str, number: &str) -> String {
        let seq = self.inbox().last_seq();
        let (broker, tenant) = (&self.broker, &self.tenant);
        let added = broker.add_phone(tenant, user, number).await.unwrap();
        let id = added.authenticator.unwrap().authenticator_id;
        let code = self.code_after(number, seq).await;
        broker
            .confirm_phone(tenant, user, &id, &code)
            .await
            .unwrap();
        id
    }

    pub async fn totp(&self, user: &str) -> App {
        self.broker.totp(&self.tenant, user).await
    }

    pub async fn send_code(&self, id: &str, method: v1::Method) -> Result<v1::Challenge, Status> {
        self.broker.send_code(&self.tenant, id, method).await
    }

    pub async fn verify(&self, id: &str, code: &str) -> Result<v1::Challenge, Status> {
        self.broker.verify(&self.tenant, id, code).await
    }

    pub async fn ask_by(&self, user: &str, method: v1::Method) -> Result<v1::Challenge, Status> {
        self.broker.ask_by(&self.tenant, user, method).await
    }

    /// Changes some of the organisation's rules.
    pub async fn rules(&self, policy: v1::TenantPolicy) {
        let request = v1::UpdatePolicyRequest {
            tenant_id: self.tenant.id.clone(),
            policy: Some(policy),
            ..v1::UpdatePolicyRequest::default()
        };
        self.broker.admin().update_policy(request).await.unwrap();
    }
}
