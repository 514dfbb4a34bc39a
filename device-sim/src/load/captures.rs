//! What somebody who reads along would have: the last genuine answers.

use std::collections::VecDeque;

use countersign_proto::v1::RespondRequest;
use parking_lot::Mutex;

/// How many are kept.
const KEPT: usize = 256;

/// Genuine answers, newest last. Nothing is kept where nobody replays it.
#[derive(Default)]
pub(super) struct Captures {
    wanted: bool,
    answers: Mutex<VecDeque<RespondRequest>>,
}

impl Captures {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            answers: Mutex::default(),
        }
    }

    /// An answer that has decided.
    pub(super) fn answer(&self, answer: RespondRequest) {
        if self.wanted {
            let mut answers = self.answers.lock();
            if answers.len() >= KEPT {
                answers.pop_front();
            }
            answers.push_back(answer);
        }
    }

    /// One of them; `None` as long as there is none.
    pub(super) fn some_answer(&self, number: u64) -> Option<RespondRequest> {
        let answers = self.answers.lock();
        let count = u64::try_from(answers.len()).ok()?;
        let place = usize::try_from(number.checked_rem(count)?).ok()?;
        answers.get(place).cloned()
    }
}
