//! What is verified along with the measuring, and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::report::Check;

/// One thing that has to hold: how often it was looked at, and what broke it.
#[derive(Default)]
pub(super) struct Rule {
    looked_at: AtomicU64,
    broken: AtomicU64,
    first: Mutex<Option<String>>,
}

impl Rule {
    /// Looked at; `wrong` says what is wrong, if anything.
    pub(super) fn look(&self, wrong: Option<String>) {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        if let Some(wrong) = wrong {
            self.broken.fetch_add(1, Ordering::Relaxed);
            self.first.lock().get_or_insert(wrong);
        }
    }

    fn check(&self, name: &str, what: &str) -> Check {
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        let broken = self.broken.load(Ordering::Relaxed);
        let detail = match self.first.lock().as_ref() {
            None => format!("{looked_at} {what}"),
            Some(first) => format!("{broken} of {looked_at} {what}; the first: {first}"),
        };
        Check {
            name: name.to_owned(),
            passed: broken == 0,
            detail,
        }
    }
}

/// All that is verified.
#[derive(Default)]
pub(super) struct Verified {
    /// Nobody is let in whose phone, or code, did not say yes in time.
    pub(super) approvals: Rule,
    /// Phone and identity provider are told the same.
    pub(super) outcomes: Rule,
    /// A decision read again is the same.
    pub(super) stable: Rule,
    /// A request sent again gets the same challenge.
    pub(super) idempotent: Rule,
    /// An answer after the end is refused.
    pub(super) late: Rule,
    /// Receipts hold, by themselves.
    pub(super) receipts: Rule,
    /// What was pending at the end was cancelled.
    pub(super) leftovers: Rule,
}

impl Verified {
    /// The checks, but for those that nobody looked at.
    pub(super) fn checks(&self) -> Vec<Check> {
        let all = [
            (
                &self.approvals,
                "no approval that our own phone or code did not give",
                "approvals",
            ),
            (
                &self.outcomes,
                "phone and identity provider told the same",
                "answers",
            ),
            (
                &self.stable,
                "a decision read again is the same",
                "decisions",
            ),
            (
                &self.idempotent,
                "a request sent again gets the same challenge",
                "requests",
            ),
            (
                &self.late,
                "no answer after the end of a challenge counts",
                "late answers",
            ),
            (&self.receipts, "receipts verify offline", "receipts"),
            (
                &self.leftovers,
                "what was pending at the end is cancelled",
                "challenges",
            ),
        ];
        all.into_iter()
            .filter(|(rule, _, _)| rule.looked_at.load(Ordering::Relaxed) > 0)
            .map(|(rule, name, what)| rule.check(name, what))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_first_that_breaks_a_rule_is_named() {
        let verified = Verified::default();
        assert!(verified.checks().is_empty());
        verified.late.look(None);
        assert!(verified.checks()[0].passed);
        verified.late.look(Some("this one".to_owned()));
        verified.late.look(Some("that one".to_owned()));
        let checks = verified.checks();
        assert!(checks.len() == 1 && !checks[0].passed);
        assert_eq!(checks[0].detail, "2 of 3 late answers; the first: this one");
    }
}
