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
//!   little: who asks for little should hardly feel the others' queue, so the
//!   delay aimed at is far smaller. May be below one call in flight. A delay so
//!   small may have other causes (another process, a slow machine) that no cut
//!   can cure: it is in force only for a while after more came than could be
//!   done, then tried without, and never takes all.
//!
//! What is let in of theirs besides begins only when the run queue is short
//! ([`Turn::Last`]): the others go first at every turn.

use std::{collections::HashMap, hash::Hash};

/// The time between two looks at the measurements.
pub(super) const INTERVAL_US: u64 = 100_000;

/// What an average keeps from one interval to the next: half is forgotten
/// after three intervals, all after some thirty.
const KEEP: f64 = 0.8;

/// The delay that somebody quiet may feel, however long others may wait: a call
/// that is made durable in a millisecond or two goes through the run queue some
/// four times.
const QUIET_US: u64 = 50;

/// What those who ask for much keep in any case, of what was let in without the
/// cut: about what somebody gets who behaves. A machine so noisy that no cut
/// brings the delay down shall not starve them.
const KEPT: f64 = 0.3;

/// What was let in without the cut is half forgotten after a minute.
const FULL_KEEP: f64 = 0.998_85;

/// How long the cut is in force at first, and at most, when more comes than can
/// be done each time it is tried without.
const FIRST_SPAN_US: u64 = 5_000_000;
const LONGEST_SPAN_US: u64 = 60_000_000;

/// Such a trial has succeeded after so long. It fails when so many calls are
/// refused although so many are in flight, which takes a flood milliseconds:
/// under one in a hundred of what the quiet ones ask for feels it.
const TRIAL_US: u64 = 2_000_000;
const TRIAL_CUT: f64 = 16.0;
const TRIAL_REFUSALS: u32 = 8;

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
    /// It may, in its turn.
    Admitted(Turn),
    /// It may not.
    Refused(Cause),
}

/// When a call that may go on does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// When it has gone to the end of the run queue once, and said how long that
    /// took.
    Behind,
    /// The same, but then again and again until the queue is short: those who
    /// ask for little go first.
    Last,
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
    /// Accounts subject to the cut, and what was let in of theirs.
    loud: u32,
    loud_admitted: f64,
    /// The most that was let in of late.
    full: f64,
    /// Whether somebody quiet is there, and whether the cut protects them.
    quiet_ones: bool,
    protecting: bool,
    /// How long the cut is in force, and until when it is.
    span_us: u64,
    cut_until_us: u64,
    /// Refused in the present trial; none when there is none.
    trial: Option<u32>,
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
            loud_admitted: 0.0,
            full: 0.0,
            quiet_ones: false,
            protecting: false,
            span_us: FIRST_SPAN_US,
            cut_until_us: 0,
            trial: None,
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
        let (limit, cut) = (self.limit, self.present_cut());
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
            Verdict::Admitted(Turn::Now)
        } else {
            self.limited = true;
            Verdict::Refused(if accounts > 1.0 {
                Cause::OverShare
            } else {
                Cause::Overloaded
            })
        };
        let admitted = matches!(verdict, Verdict::Admitted(_));
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
        if let Verdict::Admitted(turn) = &mut verdict {
            usage.in_flight = usage.in_flight.saturating_add(1);
            usage.admitted.now += 1.0;
            self.in_flight = self.in_flight.saturating_add(1);
            self.admitted = self.admitted.wrapping_add(1);
            *turn = if usage.quiet {
                Turn::Now
            } else if self.quiet_ones {
                Turn::Last
            } else if self.pressed || self.admitted.is_multiple_of(SAMPLE) {
                Turn::Behind
            } else {
                Turn::Now
            };
        } else {
            if self.refused == 0 {
                self.notice = Some(Notice::Began);
            }
            self.refused = self.refused.saturating_add(1);
            self.last_refusal_us = now_us;
            self.trial = self.trial.map(|refused| refused + 1);
            if self.limited || self.trial >= Some(TRIAL_REFUSALS) {
                // Not only when the interval is over: much would be let in until then.
                self.protect(now_us);
            }
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

    /// Whether a call whose turn is [`Turn::Last`], which has just waited for
    /// `delay_us` and `all_us` in all, goes behind once more. No call does for
    /// longer than the delay aimed at.
    pub(super) fn again(&self, delay_us: u64, all_us: u64) -> bool {
        self.quiet_ones && delay_us > self.quiet_us() && all_us < self.settings.target_us
    }

    fn quiet_us(&self) -> u64 {
        QUIET_US.min(self.settings.target_us)
    }

    /// What to log, once.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// The present limit on new work in flight.
    pub(super) fn limit(&self) -> f64 {
        if self.protecting {
            self.present_cut().min(self.limit)
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
        let end = self.cut_until_us.saturating_add(TRIAL_US);
        self.trial = (self.cut_until_us > 0 && (self.cut_until_us..end).contains(&now_us))
            .then(|| self.trial.unwrap_or_default());
        self.protecting = self.quiet_ones && (self.trial.is_some() || now_us < self.cut_until_us);
        if self.refused > 0 && now_us.saturating_sub(self.last_refusal_us) >= CALM_US {
            self.notice = Some(Notice::Ended {
                refused: self.refused,
            });
            self.refused = 0;
        }
    }

    fn move_limits(&mut self, now_us: u64) {
        let starved = self.loud_admitted < self.full * KEPT;
        if self.protecting && starved && self.trial.is_none() {
            self.cut = self.cut * 1.1 + LEAST_CUT;
        }
        if self.delays == 0 {
            // Nothing was let in, or too little to tell.
            return;
        }
        let most = f64::from(self.settings.max_new_calls.max(1));
        let delay = self.delay_sum_us / u64::from(self.delays);
        let target = self.settings.target_us;
        let shared = self.quiet_us();
        if delay > target {
            self.protect(now_us);
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
        if self.protecting && (starved || self.trial.is_some()) {
            // Raised already, or not in force.
        } else if self.protecting && delay > shared {
            self.cut = (self.cut * 0.9).max(LEAST_CUT);
        } else if !self.protecting || self.cut_down {
            // Slower than people answer: what was let in comes back seconds
            // later as finishing work.
            self.cut = self.cut * 1.03 + LEAST_CUT;
        }
        self.cut = self.cut.min(self.limit);
    }

    /// More comes than can be done: the cut is in force for a while.
    fn protect(&mut self, now_us: u64) {
        if now_us < self.cut_until_us {
            return;
        }
        self.span_us = if self.trial.take().is_some() {
            self.span_us.saturating_mul(2).min(LONGEST_SPAN_US)
        } else {
            FIRST_SPAN_US
        };
        self.cut_until_us = now_us.saturating_add(self.span_us);
        self.protecting = self.quiet_ones;
    }

    fn present_cut(&self) -> f64 {
        match self.trial {
            Some(_) => self.cut.max(TRIAL_CUT),
            None => self.cut,
        }
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
        self.full = (self.full * FULL_KEEP.powi(intervals)).max(admitted);
        // Who is cut is let in for less than it could be: the others do not ask
        // for more because of that.
        let most = if self.protecting { self.full } else { admitted };
        let little = most / count(self.usages.len()) / 2.0;
        self.loud = 0;
        self.loud_admitted = 0.0;
        self.quiet_ones = false;
        for (account, usage) in &mut self.usages {
            usage.quiet = usage.offered.past < little;
            if usage.quiet {
                self.quiet_ones |= account.is_protected();
            } else {
                self.loud = self.loud.saturating_add(1);
                self.loud_admitted += usage.admitted.past;
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
