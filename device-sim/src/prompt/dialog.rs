//! The keys that answer one prompt.

use countersign_proto::v1::Decision;

use super::{Text, Texts};

/// The user's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was chosen.
    pub decision: Decision,
    /// The number typed; empty unless approved with one.
    pub number: String,
}

/// What a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Press {
    /// Nothing.
    Ignored,
    /// The prompt looks different now.
    Redraw,
    /// It was an answer.
    Answer(Answer),
}

/// What the user has typed into one prompt so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    digits: usize,
    typed: String,
    number_missing: bool,
    approve: char,
    deny: char,
    not_me: char,
}

impl Dialog {
    /// A prompt that asks for `digits` digits before it can be approved (0 for
    /// none), with the keys of `texts`.
    #[must_use]
    pub fn new(digits: u32, texts: &Texts) -> Self {
        Self {
            digits: usize::try_from(digits).unwrap_or(usize::MAX),
            typed: String::new(),
            number_missing: false,
            approve: texts.key(Text::KeyApprove),
            deny: texts.key(Text::KeyDeny),
            not_me: texts.key(Text::KeyNotMe),
        }
    }

    /// The digits typed so far.
    #[must_use]
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// How many digits have to be typed.
    #[must_use]
    pub fn digits(&self) -> usize {
        self.digits
    }

    /// Whether the user tried to approve before the number was whole.
    #[must_use]
    pub fn number_missing(&self) -> bool {
        self.number_missing
    }

    /// A key was pressed. Denying never asks for a number; approving does not
    /// go through before all digits are there.
    pub fn press(&mut self, key: char) -> Press {
        if key.is_ascii_digit() {
            if self.typed.len() >= self.digits {
                return Press::Ignored;
            }
            self.typed.push(key);
            self.number_missing = false;
            return Press::Redraw;
        }
        let answer = |decision, number| Press::Answer(Answer { decision, number });
        match key.to_lowercase().next() {
            Some(key) if key == self.approve && self.typed.len() < self.digits => {
                self.number_missing = true;
                Press::Redraw
            }
            Some(key) if key == self.approve => answer(Decision::Approve, self.typed.clone()),
            Some(key) if key == self.deny => answer(Decision::Deny, String::new()),
            Some(key) if key == self.not_me => answer(Decision::ReportFraud, String::new()),
            _ => Press::Ignored,
        }
    }

    /// The last digit is taken back.
    pub fn backspace(&mut self) -> Press {
        match self.typed.pop() {
            Some(_) => Press::Redraw,
            None => Press::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dutch(digits: u32) -> Dialog {
        Dialog::new(digits, &Texts::for_language("nl"))
    }

    fn answer(decision: Decision, number: &str) -> Press {
        Press::Answer(Answer {
            decision,
            number: number.to_owned(),
        })
    }

    #[test]
    fn approving_waits_for_the_whole_number() {
        let mut dialog = dutch(2);
        assert_eq!(dialog.press('g'), Press::Redraw);
        assert!(dialog.number_missing());
        assert_eq!(dialog.press('4'), Press::Redraw);
        assert!(!dialog.number_missing());
        assert_eq!(dialog.press('G'), Press::Redraw);
        assert_eq!(dialog.press('3'), Press::Redraw);
        assert_eq!(dialog.press('9'), Press::Ignored);
        assert_eq!(dialog.backspace(), Press::Redraw);
        assert_eq!(dialog.press('2'), Press::Redraw);
        assert_eq!(dialog.press('g'), answer(Decision::Approve, "42"));
    }

    #[test]
    fn denying_and_reporting_need_none_and_send_none() {
        let mut dialog = dutch(2);
        assert_eq!(dialog.press('4'), Press::Redraw);
        assert_eq!(dialog.press('w'), answer(Decision::Deny, ""));
        assert_eq!(dialog.press('N'), answer(Decision::ReportFraud, ""));
    }

    #[test]
    fn without_a_number_approving_is_one_key() {
        let mut dialog = dutch(0);
        assert_eq!(dialog.press('1'), Press::Ignored);
        assert_eq!(dialog.backspace(), Press::Ignored);
        assert_eq!(dialog.press('g'), answer(Decision::Approve, ""));
    }

    #[test]
    fn no_other_key_answers() {
        let dialog = dutch(0);
        for key in (0..=0x10FFFF).filter_map(char::from_u32) {
            let pressed = dialog.clone().press(key);
            assert_eq!(
                matches!(pressed, Press::Answer(_)),
                "gwnGWN".contains(key),
                "{key:?}"
            );
        }
    }
}
