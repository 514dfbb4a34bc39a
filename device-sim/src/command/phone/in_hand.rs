//! The phone between its user and its broker.

use std::time::Duration;

use countersign_proto::v1::RespondResponse;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::PhoneCommandError;
use crate::phone::{Feed, Phone, PhoneError, Road, feed};
use crate::prompt::{Handset, Text, Texts, Typed, plain_text};
use crate::terminal::{Key, Keys, Screen};

/// Longest wait for the phone's last words on a prompt that has ended.
const SETTLE: Duration = Duration::from_secs(5);

/// Shows prompts and sends answers until the user leaves or the device is
/// removed.
pub(super) async fn until_left(
    mut hand: InHand,
    mut keys: Keys,
    screen: &mut Screen,
) -> Result<(), PhoneCommandError> {
    loop {
        tokio::select! {
            key = keys.next() => match key {
                Key::Quit | Key::Char('q' | 'Q') => break,
                Key::Closed => screen.say(&hand.texts().get(Text::NoInput))?,
                key => {
                    hand.typed(&key, screen)?;
                }
            },
            event = hand.next() => hand.handle(event, screen)?,
        }
    }
    screen.card(Vec::new(), true)?;
    screen.say(&hand.texts().get(Text::Goodbye))?;
    Ok(())
}

/// Something that happened to the phone.
#[derive(Debug)]
pub(crate) enum Event {
    /// From the broker.
    News(Feed),
    /// An answer went through, or did not.
    Answered {
        /// To what.
        challenge_id: String,
        /// How it went.
        result: Result<RespondResponse, PhoneError>,
    },
    /// A prompt's time is up.
    Expired,
}

/// A phone whose prompts appear on a [`Screen`].
#[derive(Debug)]
pub(crate) struct InHand {
    phone: Phone,
    handset: Handset,
    /// The challenge on the screen.
    shown: Option<String>,
    /// Whether the user was told that there is no connection.
    lost: bool,
    news: mpsc::Receiver<Feed>,
    answers: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
}

impl InHand {
    /// Starts to listen; must be called inside a tokio runtime.
    pub(crate) fn new(phone: &Phone, road: Road, language: &str) -> Self {
        let (sender, answers) = mpsc::channel(8);
        Self {
            phone: phone.clone(),
            handset: Handset::new(language, TimeZone::system()),
            shown: None,
            lost: false,
            news: feed(phone.clone(), road),
            answers,
            sender,
        }
    }

    pub(crate) fn texts(&self) -> &Texts {
        self.handset.texts()
    }

    /// Whether a prompt waits for the user.
    pub(crate) fn shows_prompt(&self) -> bool {
        self.handset.current().is_some()
    }

    /// What happens next; may be dropped while waiting.
    pub(crate) async fn next(&mut self) -> Event {
        let expiry = self.handset.next_expiry();
        let expiry = expiry.map_or(Duration::from_secs(3600), |at| {
            at.duration_since(self.phone.now()).unwrap_or_default()
        });
        tokio::select! {
            Some(news) = self.news.recv() => Event::News(news),
            Some(answered) = self.answers.recv() => answered,
            () = tokio::time::sleep(expiry) => Event::Expired,
        }
    }

    /// Lets the phone have its last word on a challenge that has ended, so that what the caller
    /// says next stands below it.
    pub(crate) async fn settle(
        &mut self,
        challenge_id: &str,
        screen: &mut Screen,
    ) -> Result<(), PhoneCommandError> {
        let patience = tokio::time::sleep(SETTLE);
        tokio::pin!(patience);
        while self.handset.holds(challenge_id) {
            tokio::select! {
                event = self.next() => self.handle(event, screen)?,
                // Pushes get lost.
                () = &mut patience => break,
            }
        }
        Ok(())
    }

    /// Shows what [`InHand::next`] brought.
    pub(crate) fn handle(
        &mut self,
        event: Event,
        screen: &mut Screen,
    ) -> Result<(), PhoneCommandError> {
        let words = match event {
            Event::News(Feed::Removed) => {
                screen.card(Vec::new(), true)?;
                screen.say(&self.texts().get(Text::Removed))?;
                return Err(PhoneCommandError::Removed);
            }
            Event::News(news) => self.heard(news),
            Event::Answered {
                challenge_id,
                result,
            } => vec![self.handset.answered(&challenge_id, &result)],
            Event::Expired => self.handset.expire(self.phone.now()),
        };
        // The prompt first, so that words about an old one don't stand under it.
        self.refresh(screen, false)?;
        for line in words {
            screen.say(&line)?;
        }
        Ok(())
    }

    /// A key was pressed; `false` when it means nothing to the phone.
    pub(crate) fn typed(&mut self, key: &Key, screen: &mut Screen) -> std::io::Result<bool> {
        let typed = match key {
            Key::Char(c) => self.handset.press(*c),
            Key::Backspace => self.handset.backspace(),
            Key::Resize => Typed::Redraw,
            Key::Enter | Key::Escape | Key::Quit | Key::Closed => Typed::Ignored,
        };
        match typed {
            Typed::Ignored => return Ok(false),
            Typed::Redraw => {}
            Typed::Report { challenge } => {
                let (phone, answers) = (self.phone.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let answered = Event::Answered {
                        result: phone.report_later(&challenge).await,
                        challenge_id: challenge.id().to_owned(),
                    };
                    // The user may have left meanwhile.
                    drop(answers.send(answered).await);
                });
            }
            Typed::Answer { challenge, answer } => {
                let (phone, answers) = (self.phone.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let result = phone.respond(&challenge, answer.decision, &answer.number);
                    let answered = Event::Answered {
                        result: result.await,
                        challenge_id: challenge.id().to_owned(),
                    };
                    // The user may have left meanwhile.
                    drop(answers.send(answered).await);
                });
            }
        }
        // Where the card is not redrawn in place, a digit is no reason to write
        // it again; what another key brought about is.
        self.refresh(screen, matches!(key, Key::Char(c) if !c.is_ascii_digit()))?;
        Ok(true)
    }

    fn heard(&mut self, news: Feed) -> Vec<String> {
        match news {
            Feed::Challenge(challenge) => {
                self.handset.offer(*challenge);
                Vec::new()
            }
            Feed::Withdrawn(withdrawal) => self.handset.withdraw(&withdrawal).into_iter().collect(),
            Feed::Pending(ids) => {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                self.handset.keep_only(&ids)
            }
            Feed::ApprovedElsewhere(approval) => {
                vec![self.handset.approved_elsewhere(approval.challenge)]
            }
            Feed::Notice(notice) => vec![self.handset.notice(&notice)],
            Feed::Untrusted(PhoneError::Expired) | Feed::Removed => Vec::new(),
            Feed::Untrusted(error) => {
                let words = self.texts().get(Text::Untrusted);
                vec![format!("{words} ({})", plain_text(&error.to_string()))]
            }
            Feed::Connected if std::mem::take(&mut self.lost) => {
                vec![self.texts().get(Text::Connected)]
            }
            Feed::Connected => Vec::new(),
            Feed::Disconnected(_) if self.lost => Vec::new(),
            Feed::Disconnected(cause) => {
                self.lost = true;
                let cause = plain_text(&cause);
                vec![self.texts().with(Text::Disconnected, &[("cause", &cause)])]
            }
        }
    }

    /// `again`: the card is to be written again even if it is the same prompt's.
    fn refresh(&mut self, screen: &mut Screen, again: bool) -> std::io::Result<()> {
        let current = self
            .handset
            .current()
            .map(|challenge| challenge.id().to_owned());
        let new = current != self.shown;
        let card = self.handset.card(screen.columns(), screen.paint());
        screen.card(card, new || again)?;
        if new && let Some(challenge_id) = current.clone() {
            let phone = self.phone.clone();
            // Says only how far the prompt came: no loss if it does not arrive.
            tokio::spawn(async move { drop(phone.acknowledge(&challenge_id).await) });
        }
        self.shown = current;
        Ok(())
    }
}
