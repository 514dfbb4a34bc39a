//! What somebody who reads along would have: the last few genuine messages.

use std::collections::VecDeque;

use countersign_proto::v1::{ListPendingChallengesRequest, RespondRequest};
use parking_lot::Mutex;
use tonic::metadata::MetadataMap;

/// How many of each kind are kept.
const KEPT: usize = 256;

/// Genuine messages, newest last. Nothing is kept where nobody replays it.
#[derive(Default)]
pub(super) struct Captures {
    wanted: bool,
    answers: Mutex<VecDeque<RespondRequest>>,
    proofs: Mutex<VecDeque<(MetadataMap, ListPendingChallengesRequest)>>,
}

impl Captures {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// An answer that has decided.
    pub(super) fn answer(&self, answer: impl FnOnce() -> RespondRequest) {
        if self.wanted {
            keep(&mut self.answers.lock(), answer());
        }
    }

    /// A call with a proof that was taken.
    pub(super) fn proof(
        &self,
        proof: impl FnOnce() -> (MetadataMap, ListPendingChallengesRequest),
    ) {
        if self.wanted {
            keep(&mut self.proofs.lock(), proof());
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) fn some_answer(&self, number: u64) -> Option<RespondRequest> {
        pick(&self.answers.lock(), number)
    }

    pub(super) fn some_proof(
        &self,
        number: u64,
    ) -> Option<(MetadataMap, ListPendingChallengesRequest)> {
        pick(&self.proofs.lock(), number)
    }
}

fn keep<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() >= KEPT {
        all.pop_front();
    }
    all.push_back(one);
}

fn pick<T: Clone>(all: &VecDeque<T>, number: u64) -> Option<T> {
    let count = u64::try_from(all.len()).unwrap_or_default();
    let place = usize::try_from(number.checked_rem(count)?).ok()?;
    all.get(place).cloned()
}
