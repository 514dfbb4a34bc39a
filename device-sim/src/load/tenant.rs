//! An organisation under load: its identity provider and its users' phones.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countersign_proto::imported::imported_device_id;
use countersign_proto::v1::{
    Challenge, ChallengeBody, ListAuthenticatorsRequest, authenticator,
    enrollment_service_client::EnrollmentServiceClient,
};
use parking_lot::Mutex;
use prost::Message as _;
use tonic::{Code, Request, Status};

use super::error::LoadError;
use crate::fleet::{Connections, FleetError, Idp, LightPhone, Population};

/// How long a call may take that waits for nobody.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// An organisation.
pub(super) struct Tenant {
    /// Its identity provider.
    pub(super) idp: Idp,
    /// UUID.
    pub(super) tenant_id: String,
    /// Id of the identity provider's key: `aud` of its receipts.
    pub(super) key_id: String,
    /// Its users.
    pub(super) population: Population,
    connections: Connections,
    roster: Roster,
    /// Phones that are used again and again: those of the first users.
    kept: Vec<OnceLock<Arc<LightPhone>>>,
}

/// Which device each user has.
enum Roster {
    /// It follows from user and key: they were imported.
    Derived(uuid::Uuid),
    /// As the broker chose: what was learnt so far.
    Learnt(Mutex<HashMap<u64, uuid::Uuid>>),
}

/// `message` as a call that is given up after a while.
pub(super) fn timed<M>(mut request: Request<M>, timeout: Duration) -> Request<M> {
    request.set_timeout(timeout);
    request
}

/// Why a call that a run needs brought nothing.
pub(super) fn refused(key_id: &str, call: &'static str, status: Status) -> LoadError {
    if matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied
    ) {
        return LoadError::Key {
            key_id: key_id.to_owned(),
            why: status.message().to_owned(),
        };
    }
    FleetError::Refused {
        call,
        status: Box::new(status),
    }
    .into()
}

/// The organisation of a key. It stands in every challenge: this one is for
/// somebody who has nothing to answer with, so that nobody is asked.
///
/// # Errors
/// [`LoadError::Key`], [`LoadError::Fleet`].
pub(super) async fn tenant_of(idp: &Idp, key_id: &str) -> Result<String, LoadError> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let nobody = format!("load-nobody-{request_id}");
    let request = idp.authorized(Idp::typical_request(request_id, nobody));
    let mut client = idp.client(0);
    let created = client.create_challenge(timed(request, CALL_TIMEOUT)).await;
    let created = created.map_err(|status| refused(key_id, "CreateChallenge", status))?;
    let challenge = created.into_inner().challenge.unwrap_or_default();
    let signed = challenge.signed_challenge.unwrap_or_default();
    let body = ChallengeBody::decode(signed.body).unwrap_or_default();
    Ok(body.tenant_id)
}

impl Tenant {
    /// Tries the key out, and looks whether first and last are there.
    ///
    /// # Errors
    /// [`LoadError::Key`], [`LoadError::NoPopulation`], [`LoadError::Fleet`].
    pub(super) async fn open(
        connections: Connections,
        api_key: &str,
        population: Population,
        users: u64,
        keep: u64,
    ) -> Result<Self, LoadError> {
        let idp = Idp::new(connections.clone(), api_key)?;
        let kept = usize::try_from(keep.min(users)).unwrap_or_default();
        let key_id = super::settings::key_id(api_key).to_owned();
        let mut tenant = Self {
            tenant_id: tenant_of(&idp, &key_id).await?,
            idp,
            key_id,
            population,
            connections,
            roster: Roster::Learnt(Mutex::default()),
            kept: (0..kept).map(|_| OnceLock::new()).collect(),
        };
        tenant.device_id(0).await?;
        tenant.device_id(users.saturating_sub(1)).await?;
        if let Ok(tenant_id) = uuid::Uuid::try_parse(&tenant.tenant_id)
            && tenant.derived(&tenant_id, 0) == tenant.device_id(0).await?
        {
            tenant.roster = Roster::Derived(tenant_id);
        }
        Ok(tenant)
    }

    fn refused(&self, call: &'static str, status: Status) -> LoadError {
        refused(&self.key_id, call, status)
    }

    /// Asks for an approval.
    pub(super) async fn create(
        &self,
        index: u64,
        message: countersign_proto::v1::CreateChallengeRequest,
    ) -> Result<Challenge, Status> {
        let request = timed(self.idp.authorized(message), CALL_TIMEOUT);
        let mut client = self.idp.client(index);
        let response = client.create_challenge(request).await?.into_inner();
        response
            .challenge
            .ok_or_else(|| Status::internal("an answer without a challenge"))
    }

    /// The client for what users register, on the connection for number `index`.
    pub(super) fn enrollments(
        &self,
        index: u64,
    ) -> EnrollmentServiceClient<tonic::transport::Channel> {
        EnrollmentServiceClient::new(self.connections.pick(index))
    }

    /// The device of a user.
    async fn device_id(&self, user: u64) -> Result<uuid::Uuid, LoadError> {
        let known = match &self.roster {
            Roster::Derived(tenant_id) => return Ok(self.derived(tenant_id, user)),
            Roster::Learnt(known) => known.lock().get(&user).copied(),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let user_id = self.population.user_id(user);
        let request = self.idp.authorized(ListAuthenticatorsRequest {
            user_id: user_id.clone(),
        });
        let listed = self
            .enrollments(user)
            .list_authenticators(timed(request, CALL_TIMEOUT))
            .await
            .map_err(|status| self.refused("ListAuthenticators", status))?;
        // The newest one: of a user who was registered twice, the one that is in use.
        let device = listed
            .into_inner()
            .authenticators
            .into_iter()
            .rev()
            .find(|one| matches!(one.kind, Some(authenticator::Kind::Device(_))))
            .ok_or(LoadError::NoPopulation { user_id })?;
        let device = uuid::Uuid::try_parse(&device.authenticator_id).unwrap_or_default();
        self.learn(user, device);
        Ok(device)
    }

    /// As of an imported device.
    fn derived(&self, tenant_id: &uuid::Uuid, user: u64) -> uuid::Uuid {
        let key = self.population.key(user);
        let user_id = self.population.user_id(user);
        let id = imported_device_id(tenant_id.as_bytes(), &user_id, &key.public_bytes());
        uuid::Uuid::from_bytes(id)
    }

    /// Takes down which device was asked, so that nobody has to look it up.
    pub(super) fn learn_from(&self, user: u64, challenge: &Challenge) {
        if let [delivery] = challenge.deliveries.as_slice()
            && let Ok(device) = uuid::Uuid::try_parse(&delivery.device_id)
        {
            self.learn(user, device);
        }
    }

    fn learn(&self, user: u64, device: uuid::Uuid) {
        if let Roster::Learnt(known) = &self.roster {
            known.lock().insert(user, device);
        }
    }

    /// The phone of a user.
    pub(super) async fn phone(&self, user: u64) -> Result<Arc<LightPhone>, LoadError> {
        let place = usize::try_from(user).ok();
        let kept = place.and_then(|place| self.kept.get(place));
        if let Some(phone) = kept.and_then(OnceLock::get) {
            return Ok(Arc::clone(phone));
        }
        let device_id = self.device_id(user).await?.to_string();
        let phone = Arc::new(self.population.phone(user, device_id));
        Ok(match kept {
            Some(kept) => Arc::clone(kept.get_or_init(|| phone)),
            None => phone,
        })
    }
}
