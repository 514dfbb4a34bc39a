//! Messages to a user's devices about the account: kept for whoever comes to look,
//! and pushed to those that can be woken.

use std::time::Duration;

use super::{Hints, keys, outbox, registration, rows};
use crate::{
    domain::{
        device::{Device, PushRegistration},
        ids::{ChallengeId, DeviceId, PushId, TenantId, UserId},
        notice::{Kept, Notices},
        push::{PushJob, PushKind},
        text::Notice,
        time::Timestamp,
    },
    store::{Hint, StoreError, engine::Tx},
};

/// How long a wake-up for a notice is worth sending.
const LIFETIME: Duration = Duration::from_secs(86_400);

/// What happened, and which devices it is about.
pub(super) struct About<'a> {
    pub(super) notice: &'a Notice,
    /// A device that has just come: it need not be told.
    pub(super) device: Option<DeviceId>,
    /// Devices that are gone: told once more, where they were reached.
    pub(super) gone: &'a [Device],
}

impl<'a> About<'a> {
    /// Something that is about no device.
    pub(super) fn account(notice: &'a Notice) -> Self {
        Self {
            notice,
            device: None,
            gone: &[],
        }
    }
}

/// Tells the user's devices.
pub(super) fn tell(
    tx: &mut Tx<'_>,
    hints: &Hints,
    (tenant, user): (TenantId, &UserId),
    about: &About<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut devices = registration::devices_of(tx, tenant, user)?;
    devices.retain(|device| Some(device.id) != about.device);
    if devices.is_empty() && about.gone.is_empty() {
        return Ok(());
    }
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id)
        .map_err(|_| StoreError::Unavailable("the system gives no randomness".into()))?;
    let id = *uuid::Builder::from_random_bytes(id).as_uuid().as_bytes();
    if !devices.is_empty() {
        let key = keys::notices_of(tenant, user);
        let mut notices: Notices = rows::load(tx, &key)?.unwrap_or_default();
        notices.add(id, about.notice, about.device, now);
        rows::save(tx, key, &notices);
    }
    for device in &devices {
        hints.after_commit(tx, Hint::Notices(device.id));
        if let Some(push) = &device.push {
            wake(tx, hints, device, push, None, id, now);
        }
    }
    for device in about.gone {
        if let Some(push) = &device.push {
            wake(tx, hints, device, push, Some(push.clone()), id, now);
        }
    }
    Ok(())
}

fn wake(
    tx: &mut Tx<'_>,
    hints: &Hints,
    device: &Device,
    push: &PushRegistration,
    farewell: Option<PushRegistration>,
    notice: [u8; 16],
    now: Timestamp,
) {
    if push.quarantined {
        return;
    }
    let job = PushJob {
        id: push_id(&notice, device.id),
        gateway: push.gateway,
        due: now,
        kind: PushKind::Notice,
        tenant: device.tenant,
        challenge: ChallengeId::from_bytes(notice),
        device: device.id,
        attempts: 0,
        perhaps_sent: false,
        expire_time: now.after(LIFETIME),
        farewell,
    };
    outbox::add(tx, hints, &job);
}

/// A notice goes to a device once: its id follows from both (UUID version 8, RFC
/// 9562).
fn push_id(notice: &[u8; 16], device: DeviceId) -> PushId {
    let mut input = b"countersign device notice".to_vec();
    input.extend_from_slice(notice);
    input.extend_from_slice(device.as_bytes());
    PushId::from_bytes(outbox::custom_id(&input))
}

/// What `device` is to be told of, beyond number `after`.
pub(super) fn for_device(
    rows: &mut impl rows::Rows,
    device: &Device,
    after: u64,
    now: Timestamp,
) -> Result<Vec<Kept>, StoreError> {
    let key = keys::notices_of(device.tenant, &device.user);
    let notices: Notices = rows::load(rows, &key)?.unwrap_or_default();
    Ok(notices.for_device(device, after, now))
}
