//! The phone's clock, which tests may set wrong.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// Tells the time of the phone.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock of the machine.
#[must_use]
pub fn system_clock() -> Now {
    Arc::new(machine_time)
}

/// A clock that is `seconds` ahead of the machine's (behind it if negative).
#[must_use]
pub fn fixed_offset(seconds: i64) -> Now {
    Arc::new(move || {
        let offset = Duration::from_secs(seconds.unsigned_abs());
        let now = machine_time();
        let shifted = if seconds < 0 {
            now.checked_sub(offset)
        } else {
            now.checked_add(offset)
        };
        shifted.unwrap_or(now)
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where a phone reads the machine's clock"
)]
fn machine_time() -> SystemTime {
    SystemTime::now()
}

/// `time` as a protobuf timestamp; times before 1970 become 1970.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// A protobuf timestamp as a time; `None` when it is before 1970 or no time.
pub(crate) fn system_time(timestamp: &Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(timestamp.seconds).ok()?;
    let nanos = u32::try_from(timestamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}
