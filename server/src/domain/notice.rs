//! What a user's devices are told of the account. Kept for devices that are off,
//! and for those that come to look by themselves.

use std::time::Duration;

use super::{device::Device, ids::DeviceId, text::Notice, time::Timestamp};

/// Notices kept of a user. With device names of up to 128 bytes they fit in one
/// stored value.
const KEPT: usize = 20;
/// How long they are kept.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Bytes kept of a name.
const MAX_DETAIL: usize = 128;

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Counts up for each user.
    pub number: u64,
    /// Random: all that a gateway sees of it.
    pub id: [u8; 16],
    /// What happened.
    pub notice: Notice,
    /// When.
    pub time: Timestamp,
    /// The device that it is about, which need not be told.
    pub about: Option<DeviceId>,
}

/// A user's notices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// The number of the last one ever.
    pub last: u64,
    /// Oldest first.
    pub kept: Vec<Kept>,
}

impl Notices {
    /// Adds one; the oldest go.
    pub fn add(&mut self, id: [u8; 16], notice: &Notice, about: Option<DeviceId>, now: Timestamp) {
        self.last = self.last.saturating_add(1);
        self.kept.retain(|kept| now.since(kept.time) < KEPT_FOR);
        self.kept.push(Kept {
            number: self.last,
            id,
            notice: notice.shortened(MAX_DETAIL),
            time: now,
            about,
        });
        let over = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..over);
    }

    /// Those that `device` is to be told of, beyond number `after`: nothing from
    /// before it came, which the others were told of too.
    #[must_use]
    pub fn for_device(self, device: &Device, after: u64, now: Timestamp) -> Vec<Kept> {
        let own = self.kept.iter().rev();
        let mut own = own.filter(|kept| kept.about == Some(device.id));
        let since = own.next().map_or(after, |kept| after.max(kept.number));
        let mut kept = self.kept;
        kept.retain(|kept| {
            kept.number > since
                && kept.time >= device.create_time
                && now.since(kept.time) < KEPT_FOR
        });
        kept
    }
}
