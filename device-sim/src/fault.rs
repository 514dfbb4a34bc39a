//! Faults that a gateway emulator commits on request: by share of the requests, drawn from a
//! seeded generator, or by schedule for the next requests. Both can be changed while it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// One thing that goes wrong with one request.
///
/// As JSON: `{"kind":"unavailable","retry_after":3}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Nothing: lets one request of a schedule pass.
    None,
    /// The answer comes later; everything else is as it would have been.
    Latency {
        /// Delay in milliseconds.
        millis: u64,
    },
    /// The push is accepted and never reaches the phone.
    Drop,
    /// The push is accepted and reaches the phone twice.
    Duplicate,
    /// The push is processed, the answer stops in the middle and never goes on.
    Stall,
    /// The request ends in a reset (HTTP/2: `RST_STREAM INTERNAL_ERROR`; HTTP/1.1: the connection
    /// is closed).
    Reset {
        /// Whether the push is processed before; the caller can't tell.
        #[serde(default)]
        processed: bool,
    },
    /// The request is not processed, and the client is told so (HTTP/2: `RST_STREAM
    /// REFUSED_STREAM`, RFC 9113, section 8.7). Over HTTP/1.1 as an unprocessed reset.
    RefuseStream,
    /// The connection is closed by GOAWAY; this request is not processed.
    Goaway {
        /// HTTP/2 error code (RFC 9113, section 7); 0 is NO_ERROR, 7 REFUSED_STREAM.
        #[serde(default)]
        code: u32,
    },
    /// The connection is cut without a word; this request is not processed.
    Disconnect,
    /// The token is said to be dead: APNs 410 `Unregistered`, FCM 404 `UNREGISTERED`.
    Unregistered,
    /// The token is said to be wrong: APNs 400 `BadDeviceToken`, FCM 400 `INVALID_ARGUMENT`.
    BadDeviceToken,
    /// 429: APNs `TooManyRequests`, FCM `QUOTA_EXCEEDED`.
    TooManyRequests {
        /// Value of the `Retry-After` header in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 500: APNs `InternalServerError`, FCM `INTERNAL`.
    InternalError,
    /// 503: APNs `ServiceUnavailable`, FCM `UNAVAILABLE`.
    Unavailable {
        /// Value of the `Retry-After` header in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Any other refusal, with a reason of one's own choosing (known or not).
    Reply {
        /// HTTP status, 400–599.
        status: u16,
        /// APNs `reason`, FCM `errorCode`, OAuth `error`, or Twilio's message.
        reason: String,
        /// Value of the `Retry-After` header in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
}

impl Fault {
    /// The name in `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Latency { .. } => "latency",
            Fault::Drop => "drop",
            Fault::Duplicate => "duplicate",
            Fault::Stall => "stall",
            Fault::Reset { .. } => "reset",
            Fault::RefuseStream => "refuse_stream",
            Fault::Goaway { .. } => "goaway",
            Fault::Disconnect => "disconnect",
            Fault::Unregistered => "unregistered",
            Fault::BadDeviceToken => "bad_device_token",
            Fault::TooManyRequests { .. } => "too_many_requests",
            Fault::InternalError => "internal_error",
            Fault::Unavailable { .. } => "unavailable",
            Fault::Reply { .. } => "reply",
        }
    }
}

/// A fault that hits a share of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Probability per request, 0 to 1; every entry is drawn by itself.
    pub share: f64,
    /// What happens.
    pub fault: Fault,
}

/// What goes wrong at one gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    /// Seed of the generator behind `shares`; chosen at random when unset.
    pub seed: Option<u64>,
    /// Faults by share. Of several that hit the same request, delays add up and the first other
    /// one counts.
    pub shares: Vec<Share>,
    /// What happens to the next requests, one entry each, before `shares` applies.
    pub schedule: Vec<Fault>,
    /// The gateway is down: connections are cut and new ones closed at once.
    pub down: bool,
}

/// A plan that can't be carried out.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// A share below 0 or above 1.
    #[error("share {0} is not between 0 and 1")]
    Share(f64),
    /// A status outside 400–599.
    #[error("status {0} is not between 400 and 599")]
    Status(u16),
}

/// What the plan holds for one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Draw {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

impl Draw {
    fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::None => {}
            Fault::Latency { millis } => {
                self.delay = self.delay.saturating_add(Duration::from_millis(*millis));
            }
            other => {
                self.fault.get_or_insert_with(|| other.clone());
            }
        }
    }

    /// Names of what hit, for the record.
    pub(crate) fn label(&self) -> Option<String> {
        let latency = (!self.delay.is_zero()).then_some("latency");
        let fault = self.fault.as_ref().map(Fault::kind);
        match (latency, fault) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
            (Some(one), Some(other)) => Some(format!("{one}+{other}")),
        }
    }
}

struct State {
    plan: FaultPlan,
    schedule: VecDeque<Fault>,
    rng: StdRng,
}

/// The handle on one gateway's faults. Clones act on the same gateway.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    down: Arc<watch::Sender<bool>>,
}

impl Faults {
    /// No faults, and this seed for the shares to come.
    pub fn new(seed: u64) -> Self {
        let plan = FaultPlan {
            seed: Some(seed),
            ..FaultPlan::default()
        };
        let state = State {
            plan,
            schedule: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            down: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Replaces the plan and starts its generator anew. Returns the seed in use.
    ///
    /// # Errors
    /// A share or status out of range; the old plan then stays.
    pub fn set(&self, mut plan: FaultPlan) -> Result<u64, PlanError> {
        for share in &plan.shares {
            if !(0.0..=1.0).contains(&share.share) {
                return Err(PlanError::Share(share.share));
            }
        }
        for fault in plan
            .shares
            .iter()
            .map(|share| &share.fault)
            .chain(&plan.schedule)
        {
            if let Fault::Reply { status, .. } = fault
                && !(400..=599).contains(status)
            {
                return Err(PlanError::Status(*status));
            }
        }
        let seed = plan.seed.unwrap_or_else(rand::random);
        plan.seed = Some(seed);
        let down = plan.down;
        {
            let mut state = self.state.lock();
            state.schedule = std::mem::take(&mut plan.schedule).into();
            state.rng = StdRng::seed_from_u64(seed);
            state.plan = plan;
        }
        self.down.send_replace(down);
        Ok(seed)
    }

    /// Adds to the schedule, behind what is left of it.
    pub fn schedule(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().schedule.extend(faults);
    }

    /// Removes every fault.
    pub fn clear(&self) {
        {
            let mut state = self.state.lock();
            state.schedule.clear();
            state.plan.shares.clear();
            state.plan.down = false;
        }
        self.down.send_replace(false);
    }

    /// Takes the gateway down or up again.
    pub fn set_down(&self, down: bool) {
        self.state.lock().plan.down = down;
        self.down.send_replace(down);
    }

    /// The plan as it stands, `schedule` holding what is still to come.
    pub fn plan(&self) -> FaultPlan {
        let state = self.state.lock();
        let mut plan = state.plan.clone();
        plan.schedule = state.schedule.iter().cloned().collect();
        plan
    }

    pub(crate) fn draw(&self) -> Draw {
        let mut draw = Draw::default();
        let mut state = self.state.lock();
        if let Some(fault) = state.schedule.pop_front() {
            draw.add(&fault);
            return draw;
        }
        let State { plan, rng, .. } = &mut *state;
        for share in &plan.shares {
            // One number per entry and request, hit or not: request N sees the same draw whatever
            // came before it.
            if rng.random::<f64>() < share.share {
                draw.add(&share.fault);
            }
        }
        draw
    }

    pub(crate) fn watch_down(&self) -> watch::Receiver<bool> {
        self.down.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )]
    use super::*;

    fn half() -> FaultPlan {
        FaultPlan {
            seed: Some(7),
            shares: vec![
                Share {
                    share: 0.5,
                    fault: Fault::Latency { millis: 20 },
                },
                Share {
                    share: 0.25,
                    fault: Fault::Drop,
                },
                Share {
                    share: 0.25,
                    fault: Fault::InternalError,
                },
            ],
            ..FaultPlan::default()
        }
    }

    #[test]
    fn same_seed_same_faults() {
        let draws = |seed| {
            let faults = Faults::new(1);
            faults
                .set(FaultPlan {
                    seed: Some(seed),
                    ..half()
                })
                .unwrap();
            (0..200).map(|_| faults.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn shares_are_shares() {
        let faults = Faults::new(1);
        faults.set(half()).unwrap();
        let draws: Vec<_> = (0..4000).map(|_| faults.draw()).collect();
        let late = draws.iter().filter(|draw| !draw.delay.is_zero()).count();
        let dropped = draws
            .iter()
            .filter(|draw| draw.fault == Some(Fault::Drop))
            .count();
        assert!((1800..2200).contains(&late), "{late}");
        assert!((880..1120).contains(&dropped), "{dropped}");
    }

    #[test]
    fn schedule_comes_first_and_ends() {
        let faults = Faults::new(1);
        let schedule = vec![Fault::None, Fault::Unregistered];
        faults
            .set(FaultPlan {
                schedule,
                ..FaultPlan::default()
            })
            .unwrap();
        assert_eq!(faults.draw().fault, None);
        assert_eq!(faults.plan().schedule, [Fault::Unregistered]);
        assert_eq!(faults.draw().fault, Some(Fault::Unregistered));
        assert_eq!(faults.draw(), Draw::default());
    }

    #[test]
    fn bad_plans_are_refused_and_change_nothing() {
        let faults = Faults::new(1);
        faults.set(half()).unwrap();
        let share = Share {
            share: 1.5,
            fault: Fault::Drop,
        };
        let bad = FaultPlan {
            shares: vec![share],
            ..FaultPlan::default()
        };
        assert_eq!(faults.set(bad), Err(PlanError::Share(1.5)));
        let reply = Fault::Reply {
            status: 200,
            reason: String::new(),
            retry_after: None,
        };
        let bad = FaultPlan {
            schedule: vec![reply],
            ..FaultPlan::default()
        };
        assert_eq!(faults.set(bad), Err(PlanError::Status(200)));
        assert_eq!(faults.plan(), half());
    }

    #[test]
    fn plan_as_json() {
        let plan: FaultPlan = serde_json::from_str(
            r#"{"schedule":[{"kind":"unavailable","retry_after":3},{"kind":"goaway"}],
                "shares":[{"share":0.1,"fault":{"kind":"reset","processed":true}}]}"#,
        )
        .unwrap();
        assert_eq!(
            plan.schedule[0],
            Fault::Unavailable {
                retry_after: Some(3)
            }
        );
        assert_eq!(plan.schedule[1], Fault::Goaway { code: 0 });
        assert_eq!(plan.shares[0].fault, Fault::Reset { processed: true });
        assert!(serde_json::from_str::<FaultPlan>(r#"{"shedule":[]}"#).is_err());
    }
}
