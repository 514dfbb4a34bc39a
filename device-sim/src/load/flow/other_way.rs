//! The phone is not at hand: a code is typed instead.

use std::sync::atomic::Ordering;
use std::time::Instant;

use countersign_proto::v1::{
    Challenge, ChallengeState, Method, SendCodeRequest, VerifyCodeRequest,
};

use super::{Decided, End, Flow};
use crate::load::behaviour::Answer;
use crate::load::tenant::{CALL_TIMEOUT, Tenant, timed};

impl Flow {
    /// "Sign in another way".
    pub(super) async fn other_way(
        &self,
        tenant: &Tenant,
        challenge: Challenge,
    ) -> Result<Decided, End> {
        let method = match self.arrival.answer {
            Answer::Sms => Method::Sms,
            _ => Method::Totp,
        };
        let request = tenant.idp.authorized(SendCodeRequest {
            challenge_id: challenge.challenge_id.clone(),
            method: method.into(),
        });
        let mut client = tenant.idp.client(self.arrival.number);
        let sent = client.send_code(timed(request, CALL_TIMEOUT)).await;
        sent.map_err(|status| self.end("SendCode", &status))?;
        let code = self.code(method).await?;
        if !self.arrival.think.is_zero() {
            tokio::time::sleep(self.arrival.think).await;
        }
        let due = Instant::now();
        self.given.approving.store(true, Ordering::Relaxed);
        let request = tenant.idp.authorized(VerifyCodeRequest {
            challenge_id: challenge.challenge_id.clone(),
            code,
        });
        let verified = client.verify_code(timed(request, CALL_TIMEOUT)).await;
        let verified = verified.map_err(|status| self.end("VerifyCode", &status))?;
        self.measure(self.run.measured.answer, due);
        let decided = verified.into_inner().challenge.unwrap_or_default();
        if decided.state() == ChallengeState::Pending {
            return self.decision(tenant, &challenge).await;
        }
        Ok(Decided {
            challenge: decided,
            waited: self.arrival.think,
            at: Instant::now(),
        })
    }

    async fn code(&self, method: Method) -> Result<String, End> {
        let who = (self.arrival.tenant, self.arrival.user);
        let none = || {
            let (now, why) = (self.run.now(), "the user was given nothing to type it from");
            self.run.recorder.error(now, "code", why, why);
            End::Failed
        };
        let codes = self.run.codes.get().ok_or_else(none)?;
        if method == Method::Totp {
            return codes.totp(who).ok_or_else(none);
        }
        let control = self.run.args.target.gateways.as_deref();
        let text = codes.text(control.unwrap_or_default(), who).await;
        text.ok_or_else(none)?.map_err(|error| {
            let now = self.run.now();
            let why = "no text came";
            self.run
                .recorder
                .error(now, "code", why, &error.to_string());
            End::Failed
        })
    }
}
