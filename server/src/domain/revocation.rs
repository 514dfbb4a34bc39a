//! "That wasn't me" after an approval: the decision stands, and whoever asked is
//! told.

use std::time::Duration;

use super::{
    challenge::{Challenge, DeviceProof, Final, Reason, Road},
    ids::ChallengeId,
    response::{Answer, Choice},
    time::Timestamp,
};

/// How long after an approval a device may still say "that wasn't me".
pub const WINDOW: Duration = Duration::from_secs(86_400);
/// How long an approval is shown to the devices that were asked as well.
pub const SHOWN_FOR: Duration = Duration::from_secs(600);
/// Approvals shown to a device.
pub const SHOWN: usize = 3;
/// Approvals remembered of a user: a device is not shown its own.
const REMEMBERED: usize = 8;

/// A device's "that wasn't me" of an approved challenge. There is one at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When it came.
    pub time: Timestamp,
    /// The answer as received, and who gave it.
    pub proof: DeviceProof,
}

/// A user's last approvals that another device was asked about too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentApprovals(
    /// Which, and when they were decided; oldest first.
    pub Vec<(ChallengeId, Timestamp)>,
);

impl RecentApprovals {
    /// Adds one; what is too old to be shown, or one too many, goes.
    pub fn add(&mut self, id: ChallengeId, now: Timestamp) {
        self.0.retain(|(_, at)| now.since(*at) < SHOWN_FOR);
        self.0.push((id, now));
        let over = self.0.len().saturating_sub(REMEMBERED);
        self.0.drain(..over);
    }
}

impl Challenge {
    /// Whether it was approved and there are devices to show that to: those that
    /// were asked and did not give the answer.
    #[must_use]
    pub fn has_dissenters(&self) -> bool {
        let Some(outcome) = &self.outcome else {
            return false;
        };
        let by = outcome.proof.as_ref().map(|proof| proof.device);
        let asked = |road| matches!(road, Road::Push(_) | Road::Subscribe);
        outcome.state == Final::Approved
            && self
                .deliveries
                .iter()
                .any(|delivery| asked(delivery.road) && Some(delivery.device) != by)
    }

    /// Whether a verified answer of a device says "that wasn't me" of a challenge
    /// that has ended otherwise: too late to decide, in time to be heeded.
    #[must_use]
    pub fn is_reported_late_by(&self, answer: &Answer, now: Timestamp) -> bool {
        let ended = self.outcome.as_ref().filter(|outcome| {
            outcome.state != Final::Approved
                && outcome.reason != Reason::FraudReported
                && now.since(outcome.decide_time) <= WINDOW
        });
        ended.is_some()
            && answer.choice == Choice::ReportFraud
            && self
                .deliveries
                .iter()
                .any(|delivery| delivery.device == answer.proof.device)
    }

    /// Whether a verified answer of a device takes an approval back: it says "that
    /// wasn't me", in time, and its device was asked. That may be the device that
    /// approved.
    #[must_use]
    pub fn is_revoked_by(&self, answer: &Answer, now: Timestamp) -> bool {
        let approved = self.outcome.as_ref().filter(|outcome| {
            outcome.state == Final::Approved && now.since(outcome.decide_time) <= WINDOW
        });
        approved.is_some()
            && answer.choice == Choice::ReportFraud
            && self
                .deliveries
                .iter()
                .any(|delivery| delivery.device == answer.proof.device)
    }
}
