//! The registered phone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use countersign_proto::sealing::EncryptionKey;
use countersign_proto::v1::device_service_client::DeviceServiceClient;
use countersign_proto::v1::{EnrollResponse, PushRegistration, UserVerification};
use parking_lot::RwLock;
use tonic::transport::Channel;

use super::connection::{connect, connect_lazily};
use super::{DeviceKey, EnrollOptions, Now, PhoneError, PhoneState, TrustedKeys, enroll_request};

/// For calls that answer at once.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A registered phone. Clones share keys and connection.
#[derive(Clone)]
pub struct Phone {
    pub(super) shared: Arc<Shared>,
    client: DeviceServiceClient<Channel>,
}

pub(super) struct Shared {
    registration: Registration,
    pub(super) key: DeviceKey,
    encryption_key: Option<EncryptionKey>,
    pub(super) trusted: RwLock<TrustedKeys>,
    pub(super) push: RwLock<Option<PushRegistration>>,
    pub(super) user_verification: UserVerification,
    /// The highest number of a notice that the user was told of.
    pub(super) last_notice: AtomicU64,
    now: Now,
}

struct Registration {
    broker: String,
    ca_pem: Option<String>,
    device_id: String,
    tenant_id: String,
    organisation: String,
    user_id: String,
    language: String,
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phone")
            .field("device_id", &self.device_id())
            .field("user_id", &self.user_id())
            .field("key", &self.shared.key)
            .finish_non_exhaustive()
    }
}

impl Phone {
    /// Makes a key, redeems the ticket and pins the broker's key.
    ///
    /// # Errors
    /// Those of the connection, the broker's refusal, or, with the ticket
    /// spent, [`PhoneError::KeyNotPinned`] and the like.
    pub async fn enroll(options: EnrollOptions) -> Result<Self, PhoneError> {
        let key = DeviceKey::generate(options.algorithm)?;
        Self::enroll_with_key(options, key).await
    }

    /// [`Phone::enroll`] with a key made elsewhere.
    ///
    /// # Errors
    /// As [`Phone::enroll`].
    pub async fn enroll_with_key(
        options: EnrollOptions,
        key: DeviceKey,
    ) -> Result<Self, PhoneError> {
        let broker = options.ticket.broker().to_owned();
        let channel = connect(&broker, options.ca_pem.as_deref()).await?;
        let mut client = DeviceServiceClient::new(channel);
        let mut request = tonic::Request::new(enroll_request(&options.body(&key), &key)?);
        request.set_timeout(CALL_TIMEOUT);
        let response = client.enroll(request).await?.into_inner();
        Self::from_enrollment(options, key, client, response)
    }

    fn from_enrollment(
        options: EnrollOptions,
        key: DeviceKey,
        client: DeviceServiceClient<Channel>,
        response: EnrollResponse,
    ) -> Result<Self, PhoneError> {
        let trusted = TrustedKeys::at_enrollment(
            options.ticket.pin(),
            &response.broker_keys,
            &response.key_successions,
        )?;
        if response.device_id.is_empty() || response.tenant_id.is_empty() {
            return Err(PhoneError::Malformed("enrolment"));
        }
        Ok(Self {
            shared: Arc::new(Shared {
                registration: Registration {
                    broker: options.ticket.broker().to_owned(),
                    ca_pem: options.ca_pem,
                    device_id: response.device_id,
                    tenant_id: response.tenant_id,
                    organisation: response.organisation,
                    user_id: response.user_id,
                    language: options.language,
                },
                key,
                encryption_key: options.encryption_key,
                trusted: RwLock::new(trusted),
                push: RwLock::new(options.push),
                user_verification: UserVerification::Pin,
                last_notice: AtomicU64::new(0),
                now: options.now,
            }),
            client,
        })
    }

    /// The phone as saved by [`Phone::state`]. Connects at the first call; to
    /// be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`PhoneError::State`], [`PhoneError::UnusableKey`],
    /// [`PhoneError::BadBrokerAddress`].
    pub fn from_state(state: PhoneState, now: Now) -> Result<Self, PhoneError> {
        let channel = connect_lazily(&state.broker, state.ca_pem.as_deref())?;
        Ok(Self {
            shared: Arc::new(Shared {
                trusted: RwLock::new(state.trusted()?),
                key: DeviceKey::from_stored(&state.key)?,
                encryption_key: state.encryption_key()?,
                push: RwLock::new(state.push.as_ref().map(Into::into)),
                last_notice: AtomicU64::new(state.last_notice),
                registration: Registration {
                    broker: state.broker,
                    ca_pem: state.ca_pem,
                    device_id: state.device_id,
                    tenant_id: state.tenant_id,
                    organisation: state.organisation,
                    user_id: state.user_id,
                    language: state.language,
                },
                user_verification: UserVerification::Pin,
                now,
            }),
            client: DeviceServiceClient::new(channel),
        })
    }

    /// [`Phone::from_state`] from a file.
    ///
    /// # Errors
    /// As [`Phone::from_state`].
    pub fn load(path: &Path, now: Now) -> Result<Self, PhoneError> {
        Self::from_state(PhoneState::read(path)?, now)
    }

    /// What has to be remembered, private key included.
    ///
    /// # Errors
    /// [`PhoneError::UnusableKey`].
    pub fn state(&self) -> Result<PhoneState, PhoneError> {
        let registration = &self.shared.registration;
        Ok(PhoneState {
            version: PhoneState::VERSION,
            broker: registration.broker.clone(),
            ca_pem: registration.ca_pem.clone(),
            device_id: registration.device_id.clone(),
            tenant_id: registration.tenant_id.clone(),
            organisation: registration.organisation.clone(),
            user_id: registration.user_id.clone(),
            language: registration.language.clone(),
            key: self.shared.key.to_stored()?,
            encryption_key: self.encryption_key().map(PhoneState::stored_encryption_key),
            trusted_keys: self.shared.trusted.read().to_stored(),
            push: self.shared.push.read().as_ref().map(Into::into),
            last_notice: self.last_notice(),
        })
    }

    /// Writes [`Phone::state`] to a file of mode 0600.
    ///
    /// # Errors
    /// [`PhoneError::State`], [`PhoneError::UnusableKey`].
    pub fn save(&self, path: &Path) -> Result<(), PhoneError> {
        self.state()?.write(path)
    }

    /// The same phone with another clock.
    ///
    /// # Errors
    /// As [`Phone::from_state`].
    pub fn with_clock(&self, now: Now) -> Result<Self, PhoneError> {
        Self::from_state(self.state()?, now)
    }

    /// The device's id.
    #[must_use]
    pub fn device_id(&self) -> &str {
        &self.shared.registration.device_id
    }

    /// The tenant's id.
    #[must_use]
    pub fn tenant_id(&self) -> &str {
        &self.shared.registration.tenant_id
    }

    /// The organisation's display name.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.shared.registration.organisation
    }

    /// The account registered.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.shared.registration.user_id
    }

    /// The phone's language, a BCP 47 tag.
    #[must_use]
    pub fn language(&self) -> &str {
        &self.shared.registration.language
    }

    /// Address of the broker.
    #[must_use]
    pub fn broker(&self) -> &str {
        &self.shared.registration.broker
    }

    /// The present push registration.
    #[must_use]
    pub fn push(&self) -> Option<PushRegistration> {
        self.shared.push.read().clone()
    }

    /// The highest number of a notice that this phone has.
    #[must_use]
    pub fn last_notice(&self) -> u64 {
        self.shared.last_notice.load(Ordering::SeqCst)
    }

    /// The device's own key.
    #[must_use]
    pub fn key(&self) -> &DeviceKey {
        &self.shared.key
    }

    /// Opens encrypted prompts.
    #[must_use]
    pub fn encryption_key(&self) -> Option<&EncryptionKey> {
        self.shared.encryption_key.as_ref()
    }

    /// The broker's keys trusted at present.
    #[must_use]
    pub fn trusted_keys(&self) -> TrustedKeys {
        self.shared.trusted.read().clone()
    }

    /// The phone's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.shared.now)()
    }

    /// The generated client, for calls made by hand.
    #[must_use]
    pub fn client(&self) -> DeviceServiceClient<Channel> {
        self.client.clone()
    }
}
