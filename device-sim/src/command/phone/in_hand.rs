//! The phone between its user and its broker.

use std::time::Duration;

use countersign_proto::v1::RespondResponse;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::PhoneCommandError;
use crate::phone::{Feed, Phone, PhoneError, Road, feed};
use crate::prompt::{Handset, Text, Typed, plain_text};
use crate::terminal::{Key, Keys, Screen};

/// Shows prompts and sends answers until the user leaves or the device is
/// removed.
///
/// # Errors
/// [`PhoneCommandError::Removed`], [`PhoneCommandError::Io`].
pub async fn in_hand(
    phone: &Phone,
    road: Road,
    language: &str,
    mut keys: Keys,
    screen: &mut Screen,
) -> Result<(), PhoneCommandError> {
    let mut hand = InHand {
        phone: phone.clone(),
        handset: Handset::new(language, TimeZone::system()),
        shown: None,
        lost: false,
        screen,
    };
    let mut news = feed(phone.clone(), road);
    let (sender, mut answers) = mpsc::channel::<Answered>(8);
    loop {
        let expiry = hand.until_expiry();
        tokio::select! {
            key = keys.next() => match key {
                Key::Quit | Key::Char('q' | 'Q') => break,
                Key::Closed => {
                    let words = hand.handset.texts().get(Text::NoInput);
                    hand.screen.say(&words)?;
                }
                key => hand.typed(key, &sender)?,
            },
            Some(news) = news.recv() => {
                if matches!(news, Feed::Removed) {
                    let words = hand.handset.texts().get(Text::Removed);
                    hand.screen.card(Vec::new(), true)?;
                    hand.screen.say(&words)?;
                    return Err(PhoneCommandError::Removed);
                }
                hand.heard(news)?;
            }
            Some(answered) = answers.recv() => {
                let words = hand.handset.answered(&answered.challenge_id, &answered.result);
                hand.refresh(false)?;
                hand.screen.say(&words)?;
            }
            () = tokio::time::sleep(expiry) => {
                let words = hand.handset.expire(hand.phone.now());
                hand.tell(words)?;
            }
        }
    }
    let words = hand.handset.texts().get(Text::Goodbye);
    hand.screen.card(Vec::new(), true)?;
    hand.screen.say(&words)?;
    Ok(())
}

struct Answered {
    challenge_id: String,
    result: Result<RespondResponse, PhoneError>,
}

struct InHand<'a> {
    phone: Phone,
    handset: Handset,
    /// The challenge on the screen.
    shown: Option<String>,
    /// Whether the user was told that there is no connection.
    lost: bool,
    screen: &'a mut Screen,
}

impl InHand<'_> {
    fn until_expiry(&self) -> Duration {
        let at = self.handset.next_expiry();
        at.map_or(Duration::from_secs(3600), |at| {
            at.duration_since(self.phone.now()).unwrap_or_default()
        })
    }

    fn typed(&mut self, key: Key, answers: &mpsc::Sender<Answered>) -> std::io::Result<()> {
        let typed = match key {
            Key::Char(c) => self.handset.press(c),
            Key::Backspace => self.handset.backspace(),
            Key::Resize => Typed::Redraw,
            Key::Enter | Key::Quit | Key::Closed => Typed::Ignored,
        };
        if let Typed::Answer { challenge, answer } = &typed {
            let (phone, answers) = (self.phone.clone(), answers.clone());
            let (challenge, answer) = (challenge.clone(), answer.clone());
            tokio::spawn(async move {
                let answered = Answered {
                    challenge_id: challenge.id().to_owned(),
                    result: phone
                        .respond(&challenge, answer.decision, &answer.number)
                        .await,
                };
                // The user may have left meanwhile.
                drop(answers.send(answered).await);
            });
        }
        match typed {
            Typed::Ignored => Ok(()),
            Typed::Redraw | Typed::Answer { .. } => {
                // Where the card is not redrawn in place, a digit is no reason
                // to write it again; what an answer brought about is.
                self.refresh(matches!(key, Key::Char(c) if !c.is_ascii_digit()))
            }
        }
    }

    fn heard(&mut self, news: Feed) -> std::io::Result<()> {
        let words = match news {
            Feed::Challenge(challenge) => {
                self.handset.offer(*challenge);
                Vec::new()
            }
            Feed::Withdrawn(withdrawal) => self.handset.withdraw(&withdrawal).into_iter().collect(),
            Feed::Pending(ids) => {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                self.handset.keep_only(&ids)
            }
            Feed::Untrusted(PhoneError::Expired) | Feed::Removed => Vec::new(),
            Feed::Untrusted(error) => {
                let words = self.handset.texts().get(Text::Untrusted);
                vec![format!("{words} ({})", plain_text(&error.to_string()))]
            }
            Feed::Connected if std::mem::take(&mut self.lost) => {
                vec![self.handset.texts().get(Text::Connected)]
            }
            Feed::Connected => Vec::new(),
            Feed::Disconnected(_) if self.lost => Vec::new(),
            Feed::Disconnected(cause) => {
                self.lost = true;
                let cause = plain_text(&cause);
                let arguments = [("cause", cause.as_str())];
                vec![self.handset.texts().with(Text::Disconnected, &arguments)]
            }
        };
        self.tell(words)
    }

    /// The prompt first, so that words about an old one don't stand under it.
    fn tell(&mut self, words: Vec<String>) -> std::io::Result<()> {
        self.refresh(false)?;
        words.iter().try_for_each(|line| self.screen.say(line))
    }

    /// `again`: the card is to be written again even if it is the same prompt's.
    fn refresh(&mut self, again: bool) -> std::io::Result<()> {
        let now = self
            .handset
            .current()
            .map(|challenge| challenge.id().to_owned());
        let new = now != self.shown;
        let card = self
            .handset
            .card(self.screen.columns(), self.screen.paint());
        self.screen.card(card, new || again)?;
        if new && let Some(challenge_id) = now.clone() {
            let phone = self.phone.clone();
            // Says only how far the prompt came: no loss if it does not arrive.
            tokio::spawn(async move { drop(phone.acknowledge(&challenge_id).await) });
        }
        self.shown = now;
        Ok(())
    }
}
