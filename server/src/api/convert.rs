//! Between messages of the contract and the domain.

use std::time::Duration;

use countersign_proto::{signing::PublicKey, v1};

use crate::{
    broker::{Shown, authenticators::Authenticators, error::BrokerError},
    domain::{
        Invalid,
        account::{LockReason, Phone, RecoveryCodes, Totp},
        api_key::{ApiKey, Role},
        body::timestamp,
        challenge::{Delivery, DeliveryState, Final, Method, Reason, Road, SignedBody},
        code::Codes,
        context::{SignInContext, is_disguising},
        device::{Device, KeyProtection, Platform, PushGateway, PushRegistration},
        ids::AuthenticatorId,
        risk::Risk,
        signing_key::{SigningKey, Succession, Turn},
        time::Timestamp,
    },
};

/// A length of time; `None` when unset.
pub(super) fn duration(
    field: &str,
    value: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    let bad = || Invalid::new(field, "must be a positive length of time");
    let secs = u64::try_from(value.seconds).map_err(|_| bad())?;
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    Ok(Some(Duration::new(secs, nanos.ok_or_else(bad)?)))
}

pub(super) fn duration_to(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or_default(),
    }
}

pub(super) fn context(context: Option<v1::SignInContext>) -> Result<SignInContext, Invalid> {
    let context = context.ok_or_else(|| Invalid::new("context", "is required"))?;
    Ok(SignInContext {
        application_name: context.application_name,
        client_address: context.client_address,
        location: context.location,
        user_agent: user_agent(&context.user_agent),
        binding_message: context.binding_message,
        details: context
            .details
            .into_iter()
            .map(|line| (line.label, line.value))
            .collect(),
    })
}

/// The browser chooses its User-Agent, not the identity provider: what is too
/// long is cut, what can't be shown becomes a space, and the sign-in goes on.
fn user_agent(text: &str) -> String {
    let kept = text
        .get(..text.floor_char_boundary(512))
        .unwrap_or_default();
    kept.chars()
        .map(|c| if is_disguising(c) { ' ' } else { c })
        .collect()
}

pub(super) fn challenge(shown: Shown) -> v1::Challenge {
    let Shown {
        challenge,
        signed,
        receipt,
        browser_token,
        revocation,
    } = shown;
    let outcome = challenge.outcome.as_ref();
    v1::Challenge {
        challenge_id: challenge.id.to_string(),
        user_id: challenge.user.as_str().to_owned(),
        state: outcome
            .map_or(v1::ChallengeState::Pending, |outcome| state(outcome.state))
            .into(),
        reason: outcome
            .map_or(v1::DecisionReason::Unspecified, |outcome| {
                reason(outcome.reason)
            })
            .into(),
        method: method(challenge.method).into(),
        number_to_match: challenge.number.clone(),
        code_delivery: (takes_code(challenge.method) || challenge.codes.sends > 0)
            .then(|| code_delivery(&challenge.codes)),
        deliveries: challenge.deliveries.iter().map(delivery).collect(),
        create_time: Some(timestamp(challenge.create_time)),
        expire_time: Some(timestamp(challenge.expire_time)),
        decide_time: outcome.map(|outcome| timestamp(outcome.decide_time)),
        signed_challenge: Some(signed_challenge(&signed)),
        receipt,
        remembered_browser_token: browser_token
            .map(|token| token.reveal().to_string())
            .unwrap_or_default(),
        risk_reasons: challenge
            .risks
            .iter()
            .map(|risk| risk_reason(*risk).into())
            .collect(),
        decided_by_device_id: outcome
            .and_then(|outcome| outcome.proof.as_ref())
            .map(|proof| proof.device.to_string())
            .unwrap_or_default(),
        decided_by_authenticator_id: outcome
            .and_then(|outcome| outcome.authenticator)
            .map(|id| id.to_string())
            .unwrap_or_default(),
        revocation: revocation.map(|revocation| v1::Revocation {
            device_id: revocation.proof.device.to_string(),
            revoke_time: Some(timestamp(revocation.time)),
            signed_response: Some(v1::SignedResponse {
                body: revocation.proof.body.into(),
                signature: revocation.proof.signature.into(),
            }),
        }),
    }
}

/// A code is waited for, or decided.
fn takes_code(method: Method) -> bool {
    match method {
        Method::Sms | Method::Totp | Method::RecoveryCode => true,
        Method::Push | Method::RememberedBrowser => false,
    }
}

pub(super) fn method(method: Method) -> v1::Method {
    match method {
        Method::Push => v1::Method::Push,
        Method::Sms => v1::Method::Sms,
        Method::Totp => v1::Method::Totp,
        Method::RecoveryCode => v1::Method::RecoveryCode,
        Method::RememberedBrowser => v1::Method::RememberedBrowser,
    }
}

fn risk_reason(risk: Risk) -> v1::RiskReason {
    match risk {
        Risk::UnknownBrowser => v1::RiskReason::UnknownBrowser,
        Risk::NewNetwork => v1::RiskReason::NewNetwork,
        Risk::NewPlace => v1::RiskReason::NewPlace,
        Risk::RecentDenial => v1::RiskReason::RecentDenial,
        Risk::RecentFailures => v1::RiskReason::RecentFailures,
    }
}

pub(super) fn lock_reason(reason: LockReason) -> v1::LockReason {
    match reason {
        LockReason::TooManyFailures => v1::LockReason::TooManyFailures,
        LockReason::FraudReported => v1::LockReason::FraudReported,
        LockReason::Operator => v1::LockReason::Operator,
    }
}

pub(super) fn signed_challenge(signed: &SignedBody) -> v1::SignedChallenge {
    v1::SignedChallenge {
        body: signed.body.clone().into(),
        key_id: signed.key_id.clone(),
        signature: signed.signature.clone().into(),
    }
}

fn delivery(delivery: &Delivery) -> v1::Delivery {
    v1::Delivery {
        device_id: delivery.device.to_string(),
        gateway: match delivery.road {
            Road::Push(PushGateway::Apns) => v1::Gateway::Apns,
            Road::Push(PushGateway::Fcm) => v1::Gateway::Fcm,
            Road::Subscribe => v1::Gateway::Subscribe,
            Road::Sms => v1::Gateway::Sms,
        }
        .into(),
        state: match delivery.state {
            DeliveryState::Queued => v1::DeliveryState::Queued,
            DeliveryState::Failed => v1::DeliveryState::Failed,
            DeliveryState::Accepted => v1::DeliveryState::Accepted,
            DeliveryState::Fetched => v1::DeliveryState::Fetched,
            DeliveryState::Shown => v1::DeliveryState::Shown,
            DeliveryState::Answered => v1::DeliveryState::Answered,
        }
        .into(),
        reason: delivery.reason.clone(),
        update_time: Some(timestamp(delivery.update_time)),
    }
}

pub(super) fn state(state: Final) -> v1::ChallengeState {
    match state {
        Final::Approved => v1::ChallengeState::Approved,
        Final::Denied => v1::ChallengeState::Denied,
        Final::Expired => v1::ChallengeState::Expired,
        Final::Cancelled => v1::ChallengeState::Cancelled,
    }
}

pub(super) fn reason(reason: Reason) -> v1::DecisionReason {
    match reason {
        Reason::UserApproved => v1::DecisionReason::UserApproved,
        Reason::UserDenied => v1::DecisionReason::UserDenied,
        Reason::FraudReported => v1::DecisionReason::FraudReported,
        Reason::WrongNumber => v1::DecisionReason::WrongNumber,
        Reason::Superseded => v1::DecisionReason::Superseded,
        Reason::Unreachable => v1::DecisionReason::Unreachable,
        Reason::TimedOut => v1::DecisionReason::TimedOut,
        Reason::CancelledByCaller => v1::DecisionReason::CancelledByCaller,
        Reason::CodeVerified => v1::DecisionReason::CodeVerified,
        Reason::TooManyAttempts => v1::DecisionReason::TooManyAttempts,
        Reason::LockedOut => v1::DecisionReason::LockedOut,
        Reason::RememberedBrowser => v1::DecisionReason::RememberedBrowser,
        Reason::Policy => v1::DecisionReason::Policy,
    }
}

pub(super) fn successions(successions: &[Succession]) -> Vec<v1::SignedKeySuccession> {
    successions
        .iter()
        .map(|succession| v1::SignedKeySuccession {
            body: succession.body.clone().into(),
            signer_key_id: succession.signer_key_id.clone(),
            signature: succession.signature.clone().into(),
        })
        .collect()
}

/// A phone's push registration; `field` names it in errors.
pub(super) fn push(
    field: &str,
    push: v1::PushRegistration,
    now: Timestamp,
) -> Result<PushRegistration, Invalid> {
    let gateway = match push.gateway() {
        v1::Gateway::Apns => PushGateway::Apns,
        v1::Gateway::Fcm => PushGateway::Fcm,
        v1::Gateway::Unspecified | v1::Gateway::Subscribe | v1::Gateway::Sms => {
            return Err(Invalid::new(
                format!("{field}.gateway"),
                "must be APNS or FCM",
            ));
        }
    };
    let environment = v1::PushEnvironment::try_from(push.environment)
        .map_err(|_| Invalid::new(format!("{field}.environment"), "is not known"))?;
    let sandbox = environment == v1::PushEnvironment::Sandbox;
    if sandbox && gateway == PushGateway::Fcm {
        return Err(Invalid::new(
            format!("{field}.environment"),
            "is for APNs only",
        ));
    }
    Ok(PushRegistration {
        gateway,
        sandbox,
        app_id: push.app_id,
        token: push.token,
        register_time: now,
        quarantined: false,
    })
}

pub(super) fn platform(field: &str, value: v1::Platform) -> Result<Platform, Invalid> {
    match value {
        v1::Platform::Ios => Ok(Platform::Ios),
        v1::Platform::Android => Ok(Platform::Android),
        v1::Platform::Unspecified => Err(Invalid::new(field, "must be IOS or ANDROID")),
    }
}

/// What a phone brings along, checked field by field.
pub(super) struct App {
    pub(super) public_key: PublicKey,
    pub(super) key_protection: KeyProtection,
    pub(super) platform: Platform,
    pub(super) push: Option<PushRegistration>,
    pub(super) encryption_key: Option<[u8; 32]>,
}

/// Reads what `EnrollmentBody` and `ImportedDevice` have in common. Faults have
/// the fields' own names.
pub(super) fn app(
    algorithm: v1::KeyAlgorithm,
    public_key: &[u8],
    protection: i32,
    platform: v1::Platform,
    push: Option<v1::PushRegistration>,
    encryption_key: &[u8],
    now: Timestamp,
) -> Result<App, Invalid> {
    if algorithm == v1::KeyAlgorithm::Unspecified {
        return Err(Invalid::new("key_algorithm", "must be ED25519 or P256"));
    }
    let protection = v1::KeyProtection::try_from(protection)
        .map_err(|_| Invalid::new("key_protection", "is not known"))?;
    let encryption_key = match encryption_key {
        [] => None,
        key => Some(
            <[u8; 32]>::try_from(key)
                .map_err(|_| Invalid::new("encryption_key", "must be empty or have 32 bytes"))?,
        ),
    };
    Ok(App {
        public_key: PublicKey::from_bytes(algorithm, public_key)
            .map_err(|_| Invalid::new("public_key", "is no key of that algorithm"))?,
        key_protection: match protection {
            v1::KeyProtection::Hardware => KeyProtection::Hardware,
            v1::KeyProtection::Unspecified | v1::KeyProtection::Software => KeyProtection::Software,
        },
        platform: self::platform("platform", platform)?,
        push: push.map(|push| self::push("push", push, now)).transpose()?,
        encryption_key,
    })
}

pub(super) fn code_delivery(codes: &Codes) -> v1::CodeDelivery {
    v1::CodeDelivery {
        masked_destination: codes.masked.clone(),
        resend_time: (codes.sends > 0).then(|| timestamp(codes.resend_time)),
        attempts_left: codes.attempts_left(),
    }
}

/// Everything a user can answer with, oldest first.
pub(super) fn authenticators(known: &Authenticators) -> Vec<v1::Authenticator> {
    let account = &known.account;
    let mut all: Vec<_> = known.devices.iter().map(authenticator).collect();
    all.extend(account.phones.iter().map(phone));
    all.extend(account.totps.iter().map(totp));
    all.extend(account.recovery.iter().map(recovery_codes));
    // Ids sort by time too, but for those of imported devices.
    all.sort_by(|a, b| {
        let time = |one: &v1::Authenticator| one.create_time.map(|at| (at.seconds, at.nanos));
        let of = |one| (time(one), &one.authenticator_id);
        of(a).cmp(&of(b))
    });
    all
}

fn other(
    id: AuthenticatorId,
    create_time: Timestamp,
    last_used_time: Option<Timestamp>,
    kind: v1::authenticator::Kind,
) -> v1::Authenticator {
    v1::Authenticator {
        authenticator_id: id.to_string(),
        create_time: Some(timestamp(create_time)),
        last_used_time: last_used_time.map(timestamp),
        kind: Some(kind),
    }
}

pub(super) fn phone(phone: &Phone) -> v1::Authenticator {
    let kind = v1::authenticator::Kind::PhoneNumber(v1::PhoneNumber {
        masked_number: phone.masked.clone(),
        country: phone.country.clone(),
        confirmed: phone.confirming.is_none(),
        language: phone.language.clone(),
    });
    other(phone.id, phone.create_time, phone.last_used_time, kind)
}

pub(super) fn totp(totp: &Totp) -> v1::Authenticator {
    let kind = v1::authenticator::Kind::TotpApp(v1::TotpApp {
        confirmed: totp.confirmed,
    });
    other(totp.id, totp.create_time, totp.last_used_time, kind)
}

pub(super) fn recovery_codes(set: &RecoveryCodes) -> v1::Authenticator {
    let remaining = u32::try_from(set.unused.len()).unwrap_or(u32::MAX);
    let kind = v1::authenticator::Kind::RecoveryCodes(v1::RecoveryCodes { remaining });
    other(set.id, set.create_time, set.last_used_time, kind)
}

pub(super) fn authenticator(device: &Device) -> v1::Authenticator {
    v1::Authenticator {
        authenticator_id: device.id.to_string(),
        create_time: Some(timestamp(device.create_time)),
        last_used_time: device.last_used_time.map(timestamp),
        kind: Some(v1::authenticator::Kind::Device(v1::Device {
            display_name: device.display_name.clone(),
            platform: match device.platform {
                Platform::Ios => v1::Platform::Ios,
                Platform::Android => v1::Platform::Android,
            }
            .into(),
            key_algorithm: device.key_algorithm().into(),
            key_protection: match device.key_protection {
                KeyProtection::Software => v1::KeyProtection::Software,
                KeyProtection::Hardware => v1::KeyProtection::Hardware,
            }
            .into(),
            language: device.language.clone(),
            app_version: device.app_version.clone(),
            has_push_token: device.push.as_ref().is_some_and(|push| !push.quarantined),
            public_key: device.public_key.as_bytes().to_vec().into(),
        })),
    }
}

pub(super) fn role(role: v1::Role) -> Result<Role, BrokerError> {
    match role {
        v1::Role::Idp => Ok(Role::Idp),
        v1::Role::Admin => Ok(Role::Admin),
        v1::Role::Unspecified => Err(Invalid::new("role", "must be IDP or ADMIN").into()),
    }
}

pub(super) fn api_key(key: &ApiKey) -> v1::ApiKey {
    v1::ApiKey {
        api_key_id: key.id.as_str().to_owned(),
        tenant_id: key.tenant.map(|id| id.to_string()).unwrap_or_default(),
        role: match key.role {
            Role::Idp => v1::Role::Idp,
            Role::Admin => v1::Role::Admin,
        }
        .into(),
        display_name: key.display_name.clone(),
        create_time: Some(timestamp(key.create_time)),
        revoke_time: key.revoke_time.map(timestamp),
    }
}

pub(super) fn signing_key(key: &SigningKey, turn: Turn) -> v1::SigningKey {
    v1::SigningKey {
        key_id: key.key_id.clone(),
        public_key: key.public_key.to_vec().into(),
        state: match turn {
            Turn::Next => v1::SigningKeyState::Next,
            Turn::Current => v1::SigningKeyState::Current,
            Turn::Retired => v1::SigningKeyState::Retired,
            Turn::Overtaken => v1::SigningKeyState::Overtaken,
        }
        .into(),
        create_time: Some(timestamp(key.create_time)),
        activate_time: Some(timestamp(key.activate_time)),
    }
}
