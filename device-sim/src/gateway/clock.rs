//! The emulators' time. Tests that turn a broker's clock by hand turn this one with it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time by the system's clock, or by whatever a test gives it.
#[derive(Clone)]
pub struct GatewayClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl GatewayClock {
    /// The system's clock.
    #[allow(
        clippy::disallowed_methods,
        reason = "where the emulators read the clock"
    )]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock of one's own.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time as milliseconds since the UNIX epoch.
    pub fn now_ms(&self) -> u64 {
        let since = (self.0)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The time as whole seconds since the UNIX epoch.
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }
}

impl Default for GatewayClock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for GatewayClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GatewayClock").field(&self.now_ms()).finish()
    }
}
