//! Panics on sled's own threads.
//!
//! sled writes its log on threads of its own. If one of them panics, a flush
//! waits for ever; so such a panic has to be noticed from outside.

use std::any::Any;
use std::sync::{Arc, Once, Weak};

use parking_lot::Mutex;

/// How sled 0.34 names its threads (its `threadpool.rs`).
const SLED_THREADS: &str = "sled-io-";

type Alarm = dyn Fn() + Send + Sync;

static WATCHES: Mutex<Vec<Weak<Alarm>>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// The thread on which a store is opened. A panic there is reported as what it
/// means, damage, and not also as a defect of the program.
pub(super) const OPENER: &str = "store-open";

/// What a panic said.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "the storage library panicked: {}",
        said.unwrap_or("no reason given")
    )
}

/// Ends the watch when dropped.
pub(super) struct Watch {
    _alarm: Arc<Alarm>,
}

/// Calls `alarm` on each panic of one of sled's threads, whichever store it
/// works for: they are shared.
pub(super) fn watch(alarm: impl Fn() + Send + Sync + 'static) -> Watch {
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let current = std::thread::current();
            if current.name() == Some(OPENER) {
                return;
            }
            previous(panic);
            if current
                .name()
                .is_some_and(|name| name.starts_with(SLED_THREADS))
            {
                raise();
            }
        }));
    });
    let alarm: Arc<Alarm> = Arc::new(alarm);
    let mut watches = WATCHES.lock();
    watches.retain(|watch| watch.strong_count() > 0);
    watches.push(Arc::downgrade(&alarm));
    Watch { _alarm: alarm }
}

fn raise() {
    let alarms: Vec<_> = WATCHES.lock().iter().filter_map(Weak::upgrade).collect();
    for alarm in alarms {
        alarm();
    }
}
