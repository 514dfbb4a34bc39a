//! An identity provider that asks.

use countersign_proto::v1::{
    Challenge, CreateChallengeRequest, SignInContext, WaitChallengeRequest,
    approval_service_client::ApprovalServiceClient,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use super::{Connections, FleetError};

/// Calls of `ApprovalService` over shared connections.
#[derive(Clone)]
pub struct Idp {
    connections: Connections,
    authorization: MetadataValue<Ascii>,
}

impl std::fmt::Debug for Idp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Idp({} connections)", self.connections.count())
    }
}

impl Idp {
    /// With an API key of role `idp`.
    ///
    /// # Errors
    /// [`FleetError::BadApiKey`].
    pub fn new(connections: Connections, api_key: &str) -> Result<Self, FleetError> {
        let mut authorization = MetadataValue::try_from(format!("Bearer {api_key}"))
            .map_err(|_| FleetError::BadApiKey)?;
        authorization.set_sensitive(true);
        Ok(Self {
            connections,
            authorization,
        })
    }

    /// `message` with the API key.
    pub fn authorized<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        request
    }

    /// The client on the connection for number `index`.
    #[must_use]
    pub fn client(&self, index: u64) -> ApprovalServiceClient<tonic::transport::Channel> {
        ApprovalServiceClient::new(self.connections.pick(index))
    }

    /// Asks for an approval.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn create(
        &self,
        index: u64,
        message: CreateChallengeRequest,
    ) -> Result<Challenge, Status> {
        let response = self
            .client(index)
            .create_challenge(self.authorized(message))
            .await?;
        let challenge = response.into_inner().challenge;
        challenge.ok_or_else(|| Status::internal("an answer without a challenge"))
    }

    /// One long poll.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn wait(&self, index: u64, challenge_id: String) -> Result<Challenge, Status> {
        let message = WaitChallengeRequest {
            challenge_id,
            ..WaitChallengeRequest::default()
        };
        let response = self
            .client(index)
            .wait_challenge(self.authorized(message))
            .await?;
        let challenge = response.into_inner().challenge;
        challenge.ok_or_else(|| Status::internal("an answer without a challenge"))
    }

    /// What a sign-in page typically says: about 300 bytes.
    #[must_use]
    pub fn typical_request(request_id: String, user_id: String) -> CreateChallengeRequest {
        CreateChallengeRequest {
            request_id,
            user_id,
            context: Some(SignInContext {
                application_name: "Webmail".to_owned(),
                client_address: "203.0.113.17".to_owned(),
                location: "Ghent, Belgium".to_owned(),
                user_agent:
                    "Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0"
                        .to_owned(),
                ..SignInContext::default()
            }),
            ..CreateChallengeRequest::default()
        }
    }
}
