//! Devices that were registered elsewhere before: many in one step, or none.
//!
//! Each takes two rows (the device and its place under its user) and its share of
//! those of the audit trail and its events, and what is read for it is found by
//! key: the cost of one does not depend on how many there are.

use super::{Hints, accounts, audit, keys, notices::About, registration, rows};
use crate::{
    domain::{
        audit::{By, Entry},
        device::Device,
        policy::MAX_DEVICES_PER_USER,
        text::Notice,
        time::Timestamp,
    },
    store::{Imported, Newcomer, StoreError, engine::Tx},
};

pub(super) fn import(
    tx: &mut Tx<'_>,
    hints: &Hints,
    devices: &[Device],
    now: Timestamp,
    by: &By,
) -> Result<Imported, StoreError> {
    let mut became = Vec::with_capacity(devices.len());
    let mut entries = Vec::with_capacity(devices.len());
    for (at, device) in devices.iter().enumerate() {
        let (tenant, user) = (device.tenant, &device.user);
        let key = keys::device(device.id);
        if tx.get(&key).is_some() {
            became.push(Newcomer::Present);
            continue;
        }
        if tx.get(&keys::removed_import(device.id)).is_some() {
            became.push(Newcomer::Removed);
            continue;
        }
        let account = accounts::load(tx, tenant, user)?;
        if account.lock.is_some() {
            tx.roll_back();
            return Ok(Imported::Locked(at));
        }
        let held = tx
            .scan_prefix(&keys::devices_of(tenant, user), None, MAX_DEVICES_PER_USER)
            .len();
        if held >= MAX_DEVICES_PER_USER {
            tx.roll_back();
            return Ok(Imported::TooManyDevices(at));
        }
        rows::save(tx, key, device);
        tx.put(keys::device_of(tenant, user, device.id), []);
        entries.push(Entry {
            time: now,
            tenant: Some(tenant),
            user: Some(user.clone()),
            by: by.clone(),
            action: "device.imported",
            object: device.id.to_string(),
            outcome: String::new(),
        });
        became.push(Newcomer::Registered);
        if held > 0 || !account.phones.is_empty() {
            // What is noted of the telling comes after.
            audit::append_all(tx, &entries)?;
            entries.clear();
            let about = About {
                notice: &Notice::DeviceAdded(device.display_name.clone()),
                device: Some(device.id),
                gone: &[],
            };
            registration::notify(tx, hints, tenant, user, &about, now)?;
        }
    }
    audit::append_all(tx, &entries)?;
    Ok(Imported::Done(became))
}

/// Remembers that an imported device was taken away. Its id follows from its key:
/// without this, the same import once more would bring it back.
pub(super) fn note_removal(tx: &mut Tx<'_>, device: &Device) {
    if device.id.is_imported() {
        tx.put(keys::removed_import(device.id), []);
    }
}
