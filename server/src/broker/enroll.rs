//! Registering phones.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::{
    signing::{PublicKey, Purpose, sha256},
    v1,
};

use super::{Broker, IdpCaller, error::BrokerError, random, wait_timeout};
use crate::{
    domain::{
        Invalid,
        context::{check_language, check_text},
        device::{Device, KeyProtection, Platform, PushRegistration},
        ids::{DeviceId, EnrollmentId, TenantId, UserId},
        response::check_clock,
        tenant::Tenant,
        ticket::{DEFAULT_TTL, Ticket, TicketCode, TicketState, check_ttl},
        time::Timestamp,
    },
    store::Redeemed,
};

/// A ticket as handed out, once.
#[derive(Debug)]
pub struct IssuedTicket {
    /// Its id.
    pub id: EnrollmentId,
    /// For the QR code.
    pub uri: String,
    /// To be typed.
    pub manual_code: String,
    /// When it dies.
    pub expire_time: Timestamp,
}

/// What a phone says of itself, its fields checked one by one.
#[derive(Debug)]
pub struct Registration {
    /// What was scanned or typed.
    pub ticket: String,
    /// Verifies its answers.
    pub public_key: PublicKey,
    /// Where the private half lives.
    pub key_protection: KeyProtection,
    /// Its operating system.
    pub platform: Platform,
    /// Shown in lists.
    pub display_name: String,
    /// BCP 47 tag.
    pub language: String,
    /// Version of the app.
    pub app_version: String,
    /// How it can be woken.
    pub push: Option<PushRegistration>,
    /// X25519 key.
    pub encryption_key: Option<[u8; 32]>,
    /// The phone's clock.
    pub enroll_time: Option<prost_types::Timestamp>,
}

/// Checks what a phone says of itself, by the fields' own names.
///
/// # Errors
/// [`Invalid`] naming the field.
pub(super) fn check_app(
    display_name: &str,
    language: &str,
    app_version: &str,
    push: Option<&PushRegistration>,
) -> Result<(), Invalid> {
    check_text("display_name", display_name, 0, 128)?;
    check_text("app_version", app_version, 0, 64)?;
    check_language("language", language)?;
    push.map_or(Ok(()), |push| check_push("push", push))
}

/// Checks how a phone says it can be woken. `field` names the message.
///
/// # Errors
/// [`Invalid`] naming the field.
pub fn check_push(field: &str, push: &PushRegistration) -> Result<(), Invalid> {
    check_text(&format!("{field}.app_id"), &push.app_id, 1, 255)?;
    let token = format!("{field}.token");
    if push.token.is_empty() {
        return Err(Invalid::new(token, "is required"));
    }
    if push.token.len() > 1024 {
        return Err(Invalid::new(token, "must have at most 1024 bytes"));
    }
    let plain = match push.gateway {
        crate::domain::device::PushGateway::Apns => {
            push.token.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        crate::domain::device::PushGateway::Fcm => {
            push.token.bytes().all(|byte| byte.is_ascii_graphic())
        }
    };
    if !plain {
        return Err(Invalid::new(token, "is no token of that gateway"));
    }
    Ok(())
}

impl Broker {
    /// Makes a ticket; an open one of the same user dies.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn create_ticket(
        &self,
        caller: &IdpCaller,
        user: UserId,
        ttl: Option<Duration>,
    ) -> Result<IssuedTicket, BrokerError> {
        let ttl = ttl.unwrap_or(DEFAULT_TTL);
        check_ttl(ttl)?;
        let now = self.now();
        let code = TicketCode::new(&random::bytes()?);
        let ticket = Ticket {
            id: EnrollmentId::new(now, &random::id()?),
            tenant: caller.tenant,
            user,
            locator: code.locator().to_owned(),
            secret_hash: code.secret_hash(),
            create_time: now,
            expire_time: now.after(ttl),
            wrong_tries: 0,
            state: TicketState::Open,
        };
        let issued = IssuedTicket {
            id: ticket.id,
            uri: self.enrollment_uri(&code, now)?,
            manual_code: code.grouped(),
            expire_time: ticket.expire_time,
        };
        if !self.store.add_ticket(ticket, caller.by.clone()).await? {
            return Err(BrokerError::AccountLocked);
        }
        tracing::debug!(tenant = %caller.tenant, enrollment = %issued.id, "ticket made");
        Ok(issued)
    }

    /// `countersign://enroll?v=1&b=<address>&t=<ticket>&k=<SHA-256 of the key>`.
    fn enrollment_uri(&self, code: &TicketCode, now: Timestamp) -> Result<String, BrokerError> {
        let pin = URL_SAFE_NO_PAD.encode(sha256(&self.keyring.current_public(now)?));
        let address: String = self
            .identity
            .public_url
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        Ok(format!(
            "countersign://enroll?v=1&b={address}&t={}&k={pin}",
            code.plain()
        ))
    }

    /// Answers when the ticket was redeemed or died, or as it is when `timeout`
    /// has passed or the broker stops.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] and those of the store.
    pub async fn wait_ticket(
        &self,
        caller: &IdpCaller,
        id: EnrollmentId,
        timeout: Option<Duration>,
    ) -> Result<(TicketState, Option<Device>), BrokerError> {
        let end = self.clock.sleep(wait_timeout(timeout)?);
        tokio::pin!(end);
        let mut waiting = self.hub.enrollments.wait_on(id);
        let mut last_look = false;
        loop {
            let ticket = self
                .store
                .ticket(caller.tenant, id)
                .await?
                .ok_or(BrokerError::NotFound("enrollment"))?;
            let state = ticket.state_at(self.now());
            match state {
                TicketState::Redeemed(device) => {
                    return Ok((state, self.store.device(device).await?));
                }
                TicketState::Open if !last_look => {}
                TicketState::Open
                | TicketState::Expired
                | TicketState::Replaced
                | TicketState::Locked => return Ok((state, None)),
            }
            tokio::select! {
                () = waiting.changed() => {}
                () = self.clock.sleep_until(ticket.expire_time.as_millis()) => {}
                () = &mut end => last_look = true,
                () = self.hub.stopping.cancelled() => last_look = true,
            }
        }
    }

    /// Redeems a ticket: registers the phone, and tells it which keys of the
    /// broker to trust. `body` is what it signed.
    ///
    /// # Errors
    /// [`BrokerError::TicketRefused`] for a code that opens nothing, whatever
    /// the reason.
    pub async fn redeem(
        &self,
        registration: Registration,
        body: &[u8],
        signature: &[u8],
        address: String,
    ) -> Result<(Device, Tenant, Vec<v1::BrokerKey>), BrokerError> {
        check_app(
            &registration.display_name,
            &registration.language,
            &registration.app_version,
            registration.push.as_ref(),
        )
        .map_err(|invalid| invalid.within("body"))?;
        let now = self.now();
        registration
            .public_key
            .verify(Purpose::Enroll, body, signature)
            .map_err(|_| BrokerError::BadSignature)?;
        check_clock("body.enroll_time", registration.enroll_time.as_ref(), now)
            .map_err(|error| BrokerError::from_answer(error, now))?;
        let code = TicketCode::parse(&registration.ticket).ok_or(BrokerError::TicketRefused)?;
        let device = Device {
            id: DeviceId::new(now, &random::id()?),
            tenant: TenantId::from_bytes([0; 16]),
            user: UserId::from_stored(String::new()),
            public_key: registration.public_key,
            key_protection: registration.key_protection,
            platform: registration.platform,
            display_name: registration.display_name,
            language: registration.language,
            app_version: registration.app_version,
            push: registration.push,
            encryption_key: registration.encryption_key,
            create_time: now,
            last_used_time: None,
        };
        match self.store.redeem(code, device, now, address).await? {
            Redeemed::Refused => Err(BrokerError::TicketRefused),
            Redeemed::TooManyDevices => Err(BrokerError::TooManyDevices),
            Redeemed::Registered { device, issued } => {
                tracing::debug!(
                    tenant = %device.tenant,
                    device = %device.id,
                    platform = ?device.platform,
                    "device registered"
                );
                let tenant = self
                    .store
                    .tenant(device.tenant)
                    .await?
                    .ok_or_else(|| BrokerError::Internal("a device without a tenant".into()))?;
                Ok((*device, tenant, self.broker_keys(issued)))
            }
        }
    }

    /// The broker's keys for a phone whose ticket was made at `issued`: the one
    /// that the ticket names, which may have had its turn since, and all that
    /// follow from it.
    fn broker_keys(&self, issued: Timestamp) -> Vec<v1::BrokerKey> {
        self.keyring
            .since(issued)
            .into_iter()
            .map(|key| v1::BrokerKey {
                key_id: key.key_id,
                public_key: key.public_key.to_vec().into(),
                activate_time: Some(crate::domain::body::timestamp(key.activate_time)),
            })
            .collect()
    }
}
