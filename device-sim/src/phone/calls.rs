//! The phone's calls to its broker, and the proofs and answers they carry.

use std::time::SystemTime;

use bytes::Bytes;
use countersign_proto::signing::{DEVICE_PROOF_METADATA, Purpose, sha256};
use countersign_proto::v1::{
    AcknowledgeChallengeRequest, Decision, DeviceProof, ListPendingChallengesRequest, Notice,
    PushRegistration, RecentApproval, RespondRequest, RespondResponse, ResponseBody,
    SignedChallenge, SignedDeviceProof, SignedKeySuccession, SignedResponse, SubscribeRequest,
    UnenrollRequest, UpdatePushTokenRequest,
};
use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataValue};

use super::app::{CALL_TIMEOUT, Phone};
use super::clock::system_time;
use super::{PhoneError, Subscription, VerifiedChallenge, timestamp};

/// Full method names, as a proof names them.
pub mod method {
    /// Signed challenges and withdrawals.
    pub const SUBSCRIBE: &str = "/countersign.v1.DeviceService/Subscribe";
    /// What may be answered now.
    pub const LIST_PENDING_CHALLENGES: &str = "/countersign.v1.DeviceService/ListPendingChallenges";
    /// The prompt is seen.
    pub const ACKNOWLEDGE_CHALLENGE: &str = "/countersign.v1.DeviceService/AcknowledgeChallenge";
    /// A new push registration.
    pub const UPDATE_PUSH_TOKEN: &str = "/countersign.v1.DeviceService/UpdatePushToken";
    /// The phone leaves.
    pub const UNENROLL: &str = "/countersign.v1.DeviceService/Unenroll";
}

/// What the phone may answer now.
#[derive(Debug)]
pub struct Pending {
    /// Checked and fit to be shown, oldest first.
    pub challenges: Vec<VerifiedChallenge>,
    /// Those that the phone will not show, and why.
    pub refused: Vec<(SignedChallenge, PhoneError)>,
    /// Approved of late by something else, newest first.
    pub approved_elsewhere: Vec<ApprovedElsewhere>,
    /// New to this phone, oldest first.
    pub notices: Vec<Notice>,
    /// The broker's clock.
    pub server_time: Option<SystemTime>,
}

/// A challenge that another device, or a code, approved. If it wasn't the user:
/// [`Phone::report_later`].
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovedElsewhere {
    /// Checked, but for its expiry.
    pub challenge: VerifiedChallenge,
    /// When it was approved.
    pub decide_time: SystemTime,
}

impl Phone {
    /// The body of a proof for `method` (see [`method`]) and the request
    /// message as serialized.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`] when the system gives no randomness.
    pub fn proof_body(&self, method: &str, message: &[u8]) -> Result<DeviceProof, PhoneError> {
        let mut nonce = vec![0; 16];
        getrandom::fill(&mut nonce).map_err(|_| PhoneError::UnusableKey)?;
        Ok(DeviceProof {
            device_id: self.device_id().to_owned(),
            method: method.to_owned(),
            request_digest: sha256(message).to_vec().into(),
            issue_time: Some(timestamp(self.now())),
            nonce: nonce.into(),
        })
    }

    /// Signs a proof, whatever it says: the value of
    /// `countersign-device-proof-bin`.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn sign_proof(&self, proof: &DeviceProof) -> Result<BinaryMetadataValue, PhoneError> {
        let body = Bytes::from(proof.encode_to_vec());
        let signature = self.shared.key.sign(Purpose::DeviceProof, &body)?;
        let signed = SignedDeviceProof { body, signature };
        Ok(MetadataValue::from_bytes(&signed.encode_to_vec()))
    }

    /// The value of `countersign-device-proof-bin` for a call.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn prove(&self, method: &str, message: &[u8]) -> Result<BinaryMetadataValue, PhoneError> {
        self.sign_proof(&self.proof_body(method, message)?)
    }

    /// `message` as a request that carries its proof.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn proven<M: Message>(
        &self,
        method: &str,
        message: M,
    ) -> Result<tonic::Request<M>, PhoneError> {
        let proof = self.prove(method, &message.encode_to_vec())?;
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert_bin(DEVICE_PROOF_METADATA, proof);
        Ok(request)
    }

    fn call<M: Message>(&self, method: &str, message: M) -> Result<tonic::Request<M>, PhoneError> {
        let mut request = self.proven(method, message)?;
        request.set_timeout(CALL_TIMEOUT);
        Ok(request)
    }

    /// What this phone may answer now. Learns new keys of the broker first.
    ///
    /// # Errors
    /// The broker's refusal, or a forged key succession.
    pub async fn list_pending(&self) -> Result<Pending, PhoneError> {
        let request = self.call(
            method::LIST_PENDING_CHALLENGES,
            ListPendingChallengesRequest {
                last_notice: self.last_notice(),
            },
        )?;
        let response = self
            .client()
            .list_pending_challenges(request)
            .await?
            .into_inner();
        self.learn_keys(&response.key_successions)?;
        let mut pending = Pending {
            challenges: Vec::new(),
            refused: Vec::new(),
            approved_elsewhere: Vec::new(),
            notices: response.notices,
            server_time: response.server_time.as_ref().and_then(system_time),
        };
        pending.notices.retain(|notice| self.is_new(notice));
        for recent in response.recent_approvals {
            // One that can't be checked is not shown: nothing can be done about it.
            pending
                .approved_elsewhere
                .extend(self.approval(recent).ok());
        }
        for signed in response.challenges {
            match self.verify(signed.clone()) {
                Ok(challenge) => pending.challenges.push(challenge),
                Err(error) => pending.refused.push((signed, error)),
            }
        }
        Ok(pending)
    }

    /// Opens the stream of challenges and withdrawals.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn subscribe(&self) -> Result<Subscription, PhoneError> {
        let last_notice = self.last_notice();
        let request = self.proven(method::SUBSCRIBE, SubscribeRequest { last_notice })?;
        let stream = self.client().subscribe(request).await?.into_inner();
        Ok(Subscription::new(self.clone(), stream))
    }

    /// Tells the broker that the user sees the prompt.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn acknowledge(&self, challenge_id: &str) -> Result<(), PhoneError> {
        let message = AcknowledgeChallengeRequest {
            challenge_id: challenge_id.to_owned(),
        };
        let request = self.call(method::ACKNOWLEDGE_CHALLENGE, message)?;
        self.client().acknowledge_challenge(request).await?;
        Ok(())
    }

    /// Trusts keys that follow from trusted ones; tells how many were new.
    ///
    /// # Errors
    /// As [`TrustedKeys::extend`](super::TrustedKeys::extend).
    pub fn learn_keys(&self, successions: &[SignedKeySuccession]) -> Result<usize, PhoneError> {
        self.shared.trusted.write().extend(successions)
    }

    /// Checks a challenge from wherever it came: the key is trusted, the
    /// signature matches, it is for this account and has not expired.
    ///
    /// # Errors
    /// [`PhoneError::UnknownKey`], [`PhoneError::BadSignature`],
    /// [`PhoneError::Malformed`], [`PhoneError::WrongAccount`],
    /// [`PhoneError::Expired`].
    pub fn verify(&self, signed: SignedChallenge) -> Result<VerifiedChallenge, PhoneError> {
        let challenge = self.verify_past(signed)?;
        challenge.check_expiry(self.now())?;
        Ok(challenge)
    }

    /// The same for one that is over: it may be reported, not answered.
    ///
    /// # Errors
    /// As [`Phone::verify`], but for the expiry.
    pub fn verify_past(&self, signed: SignedChallenge) -> Result<VerifiedChallenge, PhoneError> {
        let trusted = self.shared.trusted.read();
        VerifiedChallenge::check(signed, &trusted, self.tenant_id(), self.user_id())
    }

    /// An honest answer to `challenge`, to be signed. `number`: the digits that
    /// the user typed, or empty.
    #[must_use]
    pub fn response_body(
        &self,
        challenge: &VerifiedChallenge,
        decision: Decision,
        number: &str,
    ) -> ResponseBody {
        ResponseBody {
            challenge_id: challenge.id().to_owned(),
            challenge_digest: challenge.digest().to_vec().into(),
            device_id: self.device_id().to_owned(),
            decision: decision.into(),
            number: number.to_owned(),
            respond_time: Some(timestamp(self.now())),
            user_verification: self.shared.user_verification.into(),
            locale: self.language().to_owned(),
        }
    }

    /// Signs an answer, whatever it says.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn sign_response(&self, body: &ResponseBody) -> Result<SignedResponse, PhoneError> {
        let body = Bytes::from(body.encode_to_vec());
        Ok(SignedResponse {
            signature: self.shared.key.sign(Purpose::Response, &body)?,
            body,
        })
    }

    /// Sends an answer as it is.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn send_response(
        &self,
        response: SignedResponse,
    ) -> Result<RespondResponse, PhoneError> {
        let mut request = tonic::Request::new(RespondRequest {
            response: Some(response),
        });
        request.set_timeout(CALL_TIMEOUT);
        Ok(self.client().respond(request).await?.into_inner())
    }

    /// Signs and sends the user's answer, unless the challenge has expired
    /// meanwhile.
    ///
    /// # Errors
    /// [`PhoneError::Expired`], or the broker's refusal.
    pub async fn respond(
        &self,
        challenge: &VerifiedChallenge,
        decision: Decision,
        number: &str,
    ) -> Result<RespondResponse, PhoneError> {
        challenge.check_expiry(self.now())?;
        let body = self.response_body(challenge, decision, number);
        self.send_response(self.sign_response(&body)?).await
    }

    /// "That wasn't me", said of a challenge that something else approved; taken
    /// for 24 h after the approval. `revoked` in the answer says that it counts.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn report_later(
        &self,
        challenge: &VerifiedChallenge,
    ) -> Result<RespondResponse, PhoneError> {
        let body = self.response_body(challenge, Decision::ReportFraud, "");
        self.send_response(self.sign_response(&body)?).await
    }

    /// Whether a notice is new to this phone, which from now on has it.
    pub(super) fn is_new(&self, notice: &Notice) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        self.shared.last_notice.fetch_max(notice.number, SeqCst) < notice.number
    }

    /// What something else than this phone approved, checked.
    pub(super) fn approval(&self, recent: RecentApproval) -> Result<ApprovedElsewhere, PhoneError> {
        let malformed = || PhoneError::Malformed("recent approval");
        let challenge = self.verify_past(recent.challenge.ok_or_else(malformed)?)?;
        let decide_time = recent.decide_time.as_ref().and_then(system_time);
        Ok(ApprovedElsewhere {
            challenge,
            decide_time: decide_time.ok_or_else(malformed)?,
        })
    }

    /// Replaces the push registration; `None`: reached over `Subscribe` only.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn update_push_token(
        &self,
        push: Option<PushRegistration>,
    ) -> Result<(), PhoneError> {
        let message = UpdatePushTokenRequest { push: push.clone() };
        let request = self.call(method::UPDATE_PUSH_TOKEN, message)?;
        self.client().update_push_token(request).await?;
        *self.shared.push.write() = push;
        Ok(())
    }

    /// Takes the phone off the user's list.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn unenroll(&self) -> Result<(), PhoneError> {
        let request = self.call(method::UNENROLL, UnenrollRequest {})?;
        self.client().unenroll(request).await?;
        Ok(())
    }
}
