//! What is let in, decided on numbers alone: no clock, no I/O.
//!
//! Two limits on new work in flight, both moved by one measurement, the delay
//! of the run queue (how long a task that is ready waits until it runs):
//!
//! * **limit**, on all of it. In-flight limits clock themselves: as the
//!   processor fills up, work takes longer, and the rate let in falls at once,
//!   before anything is measured. The limit itself moves slowly, so that it
//!   neither starves a slow disk nor lets a fast one queue for long. A tenant
//!   below its part of it (limit / active tenants) is let in even when others
//!   have filled it: that is max-min fairness, and at most doubles the total.
//! * **cut**, on those tenants only that ask for much while another asks for
//!   little: who asks for little should not feel the others' queue at all, so
//!   that the delay aimed at is a hundredth. May be below one call in flight.
//!   A delay so small may have other causes (another process, a slow machine)
//!   that no cut can cure: it is in force only for a while after more came than
//!   could be done, and then tried without.

use std::{collections::HashMap, hash::Hash};

/// The time between two looks at the measurements.
pub(super) const INTERVAL_US: u64 = 100_000;

/// What an average keeps from one interval to the next: half is forgotten
/// after three intervals, all after some thirty.
const KEEP: f64 = 0.8;

/// Part of the delay aimed at that somebody quiet may feel: 250 µs of 25 ms, a
/// fifth of a call that is made durable in a millisecond or two.
const PROTECTED: u64 = 100;

/// How long the cut is in force at first, and at most, when more comes than can
/// be done each time it is tried without: such a trial takes two or three
/// intervals, under one in a hundred of what the quiet ones ask for.
const FIRST_SPAN_US: u64 = 5_000_000;
const LONGEST_SPAN_US: u64 = 60_000_000;

/// A trial has succeeded after so long.
const TRIAL_US: u64 = 2_000_000;

/// Below this many calls per interval on average, a tenant has gone.
const GONE: f64 = 0.01;

/// The smallest [`Controller::limit`]: the work of one processor and of one
/// commit can always overlap.
const LEAST_LIMIT: f64 = 4.0;

/// Sign-ins at once that whoever asks for little may have in any case.
const FEW: f64 = 8.0;

/// The smallest [`Controller::cut`]: a hundredth of the arrivals still get in.
const LEAST_CUT: f64 = 0.01;

/// With more tenants than [`Controller::limit`], each still has one call in
/// flight, up to twice the limit and so many.
const MARGIN: f64 = 64.0;

/// Where the limits begin, before anything is known.
const FIRST_LIMIT: f64 = 256.0;
const FIRST_CUT: f64 = 8.0;

/// While there is time enough, one call in so many measures the delay.
const SAMPLE: u32 = 8;

/// Refusing has ended when nothing was refused for so long.
const CALM_US: u64 = 5_000_000;

/// What the controller is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The most new work in flight, whatever is measured.
    pub(super) max_new_calls: u32,
    /// The run queue's delay aimed at, microseconds.
    pub(super) target_us: u64,
}

/// Whether a call may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may. With `behind`, it goes once to the end of the run queue first,
    /// and says how long that took.
    Admitted {
        /// Whether to go behind what is waiting.
        behind: bool,
    },
    /// It may not.
    Refused(Cause),
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody could be let in.
    Overloaded,
    /// Others could be.
    OverShare,
}

/// For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The first refusal for a while.
    Began,
    /// There was none for a while.
    Ended {
        /// How many there were.
        refused: u64,
    },
}

/// What one account has been asking for.
#[derive(Debug)]
struct Usage {
    in_flight: u32,
    offered: Average,
    admitted: Average,
    /// Asks for less than half of what the others get on average.
    quiet: bool,
    /// What is left over of a cut below one.
    credit: f64,
}

/// A number per interval, the present one counting on top.
#[derive(Debug, Default)]
struct Average {
    past: f64,
    now: f64,
}

impl Average {
    fn roll(&mut self, intervals: i32) {
        self.past = (self.past + self.now) * KEEP.powi(intervals);
        self.now = 0.0;
    }
}

/// Lets new work in, or not. `A` is whom it is counted for.
#[derive(Debug)]
pub(super) struct Controller<A> {
    settings: Settings,
    limit: f64,
    cut: f64,
    in_flight: u32,
    usages: HashMap<A, Usage>,
    /// Accounts subject to the cut.
    loud: u32,
    /// Whether somebody quiet is to be protected.
    protecting: bool,
    /// How long the cut is in force, and until when it is.
    span_us: u64,
    cut_until_us: u64,
    interval_start_us: u64,
    delay_sum_us: u64,
    delays: u32,
    /// Whether the limit refused, or the cut, in this interval.
    limited: bool,
    cut_down: bool,
    /// Whether the last interval's delay was worth looking at closely.
    pressed: bool,
    admitted: u32,
    refused: u64,
    last_refusal_us: u64,
    notice: Option<Notice>,
}

/// Whom work is counted for.
pub(super) trait Account: Copy + Eq + Hash {
    /// Whether it is an organisation, to be kept from feeling others' floods.
    fn is_protected(&self) -> bool;
}

impl<A: Account> Controller<A> {
    pub(super) fn new(settings: Settings) -> Self {
        let most = f64::from(settings.max_new_calls.max(1));
        Self {
            settings,
            limit: FIRST_LIMIT.min(most),
            cut: FIRST_CUT.min(most),
            in_flight: 0,
            usages: HashMap::new(),
            loud: 0,
            protecting: false,
            span_us: FIRST_SPAN_US,
            cut_until_us: 0,
            interval_start_us: 0,
            delay_sum_us: 0,
            delays: 0,
            limited: false,
            cut_down: false,
            pressed: false,
            admitted: 0,
            refused: 0,
            last_refusal_us: 0,
            notice: None,
        }
    }

    /// New work has come. If it is admitted, [`Controller::leave`] must follow.
    pub(super) fn arrive(&mut self, account: A, now_us: u64) -> Verdict {
        self.look(now_us);
        let (limit, cut) = (self.limit, self.cut);
        let accounts = count(self.usages.len());
        let usage = self.usages.entry(account).or_insert_with(|| Usage {
            in_flight: 0,
            offered: Average::default(),
            admitted: Average::default(),
            quiet: true,
            credit: 0.0,
        });
        usage.offered.now += 1.0;
        let own = f64::from(usage.in_flight);
        let all = f64::from(self.in_flight);
        let few = usage.quiet && own < FEW;
        let in_share = (few || own < limit / accounts) && all < 2.0 * limit + MARGIN;
        let mut verdict = if in_share || all < limit {
            Verdict::Admitted { behind: false }
        } else {
            self.limited = true;
            Verdict::Refused(if accounts > 1.0 {
                Cause::OverShare
            } else {
                Cause::Overloaded
            })
        };
        let admitted = matches!(verdict, Verdict::Admitted { .. });
        if admitted && self.protecting && !usage.quiet {
            let room = cut / f64::from(self.loud.max(1)) - own;
            usage.credit = (usage.credit + room.clamp(0.0, 1.0)).min(1.0);
            if usage.credit >= 1.0 {
                usage.credit -= 1.0;
            } else {
                self.cut_down = true;
                verdict = Verdict::Refused(Cause::OverShare);
            }
        }
        if let Verdict::Admitted { behind } = &mut verdict {
            usage.in_flight = usage.in_flight.saturating_add(1);
            usage.admitted.now += 1.0;
            self.in_flight = self.in_flight.saturating_add(1);
            self.admitted = self.admitted.wrapping_add(1);
            *behind = !usage.quiet && (self.pressed || self.admitted.is_multiple_of(SAMPLE));
        } else {
            if self.refused == 0 {
                self.notice = Some(Notice::Began);
            }
            self.refused = self.refused.saturating_add(1);
            self.last_refusal_us = now_us;
        }
        verdict
    }

    /// What was admitted for `account` has ended.
    pub(super) fn leave(&mut self, account: A) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(usage) = self.usages.get_mut(&account) {
            usage.in_flight = usage.in_flight.saturating_sub(1);
        }
    }

    /// A call went to the end of the run queue, and ran again `delay_us` later.
    pub(super) fn waited(&mut self, delay_us: u64) {
        self.delay_sum_us = self.delay_sum_us.saturating_add(delay_us);
        self.delays = self.delays.saturating_add(1);
    }

    /// What to log, once.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// The present limit on new work in flight.
    pub(super) fn limit(&self) -> f64 {
        if self.protecting {
            self.cut.min(self.limit)
        } else {
            self.limit
        }
    }

    /// New work in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Draws the conclusions from an interval that is over.
    fn look(&mut self, now_us: u64) {
        let elapsed = now_us.saturating_sub(self.interval_start_us) / INTERVAL_US;
        if elapsed == 0 {
            return;
        }
        self.interval_start_us = now_us;
        self.move_limits(now_us);
        self.delay_sum_us = 0;
        self.delays = 0;
        self.limited = false;
        self.cut_down = false;
        self.weigh(i32::try_from(elapsed).unwrap_or(i32::MAX));
        self.protecting &= now_us < self.cut_until_us;
        if self.refused > 0 && now_us.saturating_sub(self.last_refusal_us) >= CALM_US {
            self.notice = Some(Notice::Ended {
                refused: self.refused,
            });
            self.refused = 0;
        }
    }

    fn move_limits(&mut self, now_us: u64) {
        if self.delays == 0 {
            // Nothing was let in, or too little to tell.
            return;
        }
        let most = f64::from(self.settings.max_new_calls.max(1));
        let delay = self.delay_sum_us / u64::from(self.delays);
        let target = self.settings.target_us;
        let shared = target / PROTECTED;
        if (self.limited || delay > target) && now_us >= self.cut_until_us {
            let failed = now_us.saturating_sub(self.cut_until_us) < TRIAL_US;
            self.span_us = if failed {
                self.span_us.saturating_mul(2).min(LONGEST_SPAN_US)
            } else {
                FIRST_SPAN_US
            };
            self.cut_until_us = now_us.saturating_add(self.span_us);
        }
        self.pressed = self.limited || self.cut_down || delay > shared;
        if delay > target {
            // In step with the excess: the delay follows the limit.
            let step = (whole(target) / whole(delay)).clamp(0.5, 0.95);
            self.limit = (self.limit * step).max(LEAST_LIMIT);
        } else if self.limited && delay < target / 2 {
            self.limit = self.limit * 1.1 + 1.0;
        }
        self.limit = self.limit.min(most);
        if self.protecting && delay > shared {
            self.cut = (self.cut * 0.9).max(LEAST_CUT);
        } else if !self.protecting || self.cut_down {
            // Slower than people answer: what was let in comes back seconds
            // later as finishing work.
            self.cut = self.cut * 1.03 + LEAST_CUT;
        }
        self.cut = self.cut.min(self.limit);
    }

    /// Who asks for much, and who for little.
    fn weigh(&mut self, intervals: i32) {
        let mut admitted = 0.0;
        self.usages.retain(|_, usage| {
            usage.offered.roll(intervals);
            usage.admitted.roll(intervals);
            admitted += usage.admitted.past;
            usage.in_flight > 0 || usage.offered.past > GONE
        });
        let little = admitted / count(self.usages.len()) / 2.0;
        self.loud = 0;
        self.protecting = false;
        for (account, usage) in &mut self.usages {
            usage.quiet = usage.offered.past < little;
            if usage.quiet {
                self.protecting |= account.is_protected();
            } else {
                self.loud = self.loud.saturating_add(1);
            }
        }
    }
}

fn whole(us: u64) -> f64 {
    f64::from(u32::try_from(us).unwrap_or(u32::MAX))
}

/// At least one, as a divisor.
fn count(accounts: usize) -> f64 {
    f64::from(u32::try_from(accounts).unwrap_or(u32::MAX).max(1))
}
