//! The open app's stream.

use std::time::SystemTime;

use countersign_proto::v1::{
    Notice, SignedChallenge, SubscribeResponse, Withdrawal, subscribe_response,
};
use tonic::Streaming;

use super::clock::system_time;
use super::{ApprovedElsewhere, Phone, PhoneError, VerifiedChallenge};

/// Something that the open app learns.
#[derive(Debug)]
pub enum PhoneEvent {
    /// A challenge to show, checked.
    Challenge(Box<VerifiedChallenge>),
    /// A challenge that the phone will not show.
    Refused {
        /// As it came.
        challenge: SignedChallenge,
        /// What is wrong with it.
        error: PhoneError,
    },
    /// A prompt to take away.
    Withdrawn(Withdrawal),
    /// The broker announced keys.
    KeysLearned {
        /// How many were new.
        new: usize,
    },
    /// Something else than this phone approved a challenge of late.
    ApprovedElsewhere(Box<ApprovedElsewhere>),
    /// Something happened to the account.
    Notice(Notice),
    /// All that was pending at the start has come.
    CaughtUp {
        /// The broker's clock.
        server_time: Option<SystemTime>,
    },
}

/// An open stream; dropping it closes it.
#[derive(Debug)]
pub struct Subscription {
    phone: Phone,
    stream: Streaming<SubscribeResponse>,
}

impl Subscription {
    pub(super) fn new(phone: Phone, stream: Streaming<SubscribeResponse>) -> Self {
        Self { phone, stream }
    }

    /// What comes next; `None` when the broker closed the stream.
    ///
    /// # Errors
    /// The stream broke, or a key succession was forged.
    pub async fn next(&mut self) -> Result<Option<PhoneEvent>, PhoneError> {
        use subscribe_response::Event;
        loop {
            let Some(message) = self.stream.message().await? else {
                return Ok(None);
            };
            // An event of a later version of the contract is passed over.
            let Some(event) = message.event else { continue };
            return Ok(Some(match event {
                Event::Challenge(signed) => match self.phone.verify(signed.clone()) {
                    Ok(challenge) => PhoneEvent::Challenge(Box::new(challenge)),
                    Err(error) => PhoneEvent::Refused {
                        challenge: signed,
                        error,
                    },
                },
                Event::Withdrawal(withdrawal) => PhoneEvent::Withdrawn(withdrawal),
                Event::KeyUpdate(update) => PhoneEvent::KeysLearned {
                    new: self.phone.learn_keys(&update.key_successions)?,
                },
                Event::RecentApproval(recent) => match self.phone.approval(recent) {
                    Ok(approval) => PhoneEvent::ApprovedElsewhere(Box::new(approval)),
                    Err(_) => continue,
                },
                Event::Notice(notice) if self.phone.is_new(&notice) => PhoneEvent::Notice(notice),
                Event::Notice(_) => continue,
                Event::CaughtUp(caught_up) => PhoneEvent::CaughtUp {
                    server_time: caught_up.server_time.as_ref().and_then(system_time),
                },
            }));
        }
    }
}
