//! How the app hears of challenges: over an open stream, or woken by pushes.
//! Both mend themselves.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use countersign_proto::v1::{Notice, Withdrawal};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    ApprovedElsewhere, Phone, PhoneError, PhoneEvent, PushMessage, VerifiedChallenge, renew_push,
};
use crate::fetch::{FetchError, Lines, get_lines};

/// First wait before trying again; doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait before trying again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often an app in front, woken by a push, looks whether its prompts still
/// stand.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// No challenge lives longer (`TenantPolicy.challenge_ttl`).
const LONGEST_LIFE: Duration = Duration::from_secs(600);

/// How long an approval by something else is told of, with room for clocks
/// (`ListPendingChallengesResponse.recent_approvals`).
const LONGEST_SHOWN: Duration = Duration::from_secs(720);

/// The road by which challenges come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Road {
    /// `DeviceService.Subscribe`.
    Subscribe,
    /// Pushes to a token, read from the emulators' control page.
    Pushes {
        /// `http://` address of the control page.
        control: String,
        /// The device's token.
        token: String,
    },
}

/// News for the app.
#[derive(Debug)]
pub enum Feed {
    /// A challenge to show.
    Challenge(Box<VerifiedChallenge>),
    /// A prompt to take away.
    Withdrawn(Withdrawal),
    /// The ids of all that is pending: prompts for anything else are over.
    Pending(Vec<String>),
    /// Something else than this phone approved a challenge of late: told once.
    ApprovedElsewhere(Box<ApprovedElsewhere>),
    /// Something happened to the account.
    Notice(Notice),
    /// A challenge that the phone does not show.
    Untrusted(PhoneError),
    /// The broker is reached, for the first time or again.
    Connected,
    /// The broker, or the control page, is not reached; the feed goes on trying.
    Disconnected(String),
    /// The broker does not know this device any more; the feed has ended.
    Removed,
}

/// Starts to listen; ends when the receiver is dropped. Must be called inside
/// a tokio runtime.
#[must_use]
pub fn feed(phone: Phone, road: Road) -> mpsc::Receiver<Feed> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let listen = Listener {
            phone,
            sender: sender.clone(),
            seen: Mutex::default(),
            told: Mutex::default(),
        };
        tokio::select! {
            () = sender.closed() => {}
            () = listen.forever(road) => {}
        }
    });
    receiver
}

/// Why listening came to an end for now.
enum Broken {
    /// In words.
    Lost(String),
    /// For good.
    Removed,
}

impl From<FetchError> for Broken {
    fn from(error: FetchError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<PhoneError> for Broken {
    fn from(error: PhoneError) -> Self {
        let reason = error.reason().unwrap_or_default();
        if error.code() == Some(tonic::Code::Unauthenticated)
            && matches!(reason.as_str(), "BAD_CREDENTIALS" | "")
        {
            return Self::Removed;
        }
        Self::Lost(error.cause())
    }
}

struct Listener {
    phone: Phone,
    sender: mpsc::Sender<Feed>,
    seen: Mutex<HashMap<String, Seen>>,
    /// Approvals by something else that the user was told of, and when they were.
    told: Mutex<HashMap<String, SystemTime>>,
}

fn pushes_to(control: &str, token: &str) -> String {
    format!("{control}/devices/{token}/pushes")
}

/// What is remembered of a challenge, so that a sealed push that comes twice,
/// late, or after its withdrawal does not bring a prompt back.
struct Seen {
    /// A withdrawal came: only the broker can tell whether that is true.
    withdrawn: bool,
    /// When it can be forgotten.
    until: SystemTime,
}

impl Listener {
    async fn forever(&self, mut road: Road) {
        let mut wait = FIRST_WAIT;
        loop {
            let mut connected = false;
            let broken = match &mut road {
                Road::Subscribe => self.subscribe(&mut connected).await,
                Road::Pushes { control, token } => {
                    self.pushes(control, token, &mut connected).await
                }
            };
            if connected {
                wait = FIRST_WAIT;
            }
            match broken {
                Broken::Removed => return self.tell(Feed::Removed).await,
                Broken::Lost(cause) => self.tell(Feed::Disconnected(cause)).await,
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// A closed channel ends the task by itself.
    async fn tell(&self, news: Feed) {
        drop(self.sender.send(news).await);
    }

    async fn subscribe(&self, connected: &mut bool) -> Broken {
        let mut subscription = match self.phone.subscribe().await {
            Ok(subscription) => subscription,
            Err(error) => return error.into(),
        };
        // What ended while there was no stream is noticed at CaughtUp.
        let mut at_start = Some(Vec::new());
        loop {
            let event = match subscription.next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Broken::Lost("the stream ended".to_owned()),
                Err(error) => return error.into(),
            };
            if !*connected {
                *connected = true;
                self.tell(Feed::Connected).await;
            }
            match event {
                PhoneEvent::Challenge(challenge) => {
                    if let Some(ids) = &mut at_start {
                        ids.push(challenge.id().to_owned());
                    }
                    self.tell(Feed::Challenge(challenge)).await;
                }
                PhoneEvent::Refused { error, .. } => self.tell(Feed::Untrusted(error)).await,
                PhoneEvent::Withdrawn(withdrawal) => self.tell(Feed::Withdrawn(withdrawal)).await,
                PhoneEvent::ApprovedElsewhere(approval) => self.approved(*approval).await,
                PhoneEvent::Notice(notice) => self.tell(Feed::Notice(notice)).await,
                PhoneEvent::KeysLearned { .. } => {}
                PhoneEvent::CaughtUp { .. } => {
                    if let Some(ids) = at_start.take() {
                        self.tell(Feed::Pending(ids)).await;
                    }
                }
            }
        }
    }

    /// The pushes to `token`; to a new one, if the push service does not know it any more. An
    /// operating system does the same after an app was restored.
    async fn open(&self, control: &str, token: &mut String) -> Result<Lines, Broken> {
        match get_lines(&pushes_to(control, token)).await {
            Err(FetchError::Refused { status, .. }) if status == http::StatusCode::NOT_FOUND => {}
            other => return Ok(other?),
        }
        let Some(push) = self.phone.push() else {
            return Err(Broken::Lost("no push service is known".to_owned()));
        };
        let push = renew_push(control, &push).await?;
        self.phone.update_push_token(Some(push.clone())).await?;
        *token = push.token;
        Ok(get_lines(&pushes_to(control, token)).await?)
    }

    async fn pushes(&self, control: &str, token: &mut String, connected: &mut bool) -> Broken {
        let mut pushes = match self.open(control, token).await {
            Ok(pushes) => pushes,
            Err(broken) => return broken,
        };
        let mut look_again = interval(LOOK_AGAIN);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = true;
        loop {
            if look {
                let pending = match self.list().await {
                    Ok(pending) => pending,
                    Err(error) => return error.into(),
                };
                if !*connected {
                    *connected = true;
                    self.tell(Feed::Connected).await;
                }
                look = pending > 0;
                look_again.reset();
            }
            tokio::select! {
                line = pushes.next() => match line {
                    Ok(Some(push)) => look |= !self.shown_from(&push).await,
                    Ok(None) => return Broken::Lost("the pushes ended".to_owned()),
                    Err(error) => return error.into(),
                },
                _ = look_again.tick(), if look => {}
            }
        }
    }

    /// Whether the push needs no look at the broker: it brought a challenge that
    /// the broker signed for this phone. Anything else is a hint, and never the
    /// source of truth: the app lists what is pending.
    async fn shown_from(&self, push: &str) -> bool {
        let push = serde_json::from_str(push).unwrap_or_default();
        match PushMessage::read(&push) {
            Some(PushMessage::Sealed { id, sealed }) => {
                let Ok(challenge) = self.phone.open(&id, &sealed) else {
                    return false;
                };
                match self.note(&id, false, challenge.expire_time()) {
                    None => self.tell(Feed::Challenge(Box::new(challenge))).await,
                    Some(withdrawn) => return !withdrawn,
                }
                true
            }
            Some(PushMessage::Withdraw { id }) => {
                let until = self.phone.now() + LONGEST_LIFE;
                self.note(&id, true, until);
                false
            }
            Some(PushMessage::Challenge { .. } | PushMessage::Notice { .. }) | None => false,
        }
    }

    /// Remembers a challenge; tells whether it had been withdrawn, if it was
    /// known before.
    fn note(&self, id: &str, withdrawn: bool, until: SystemTime) -> Option<bool> {
        let now = self.phone.now();
        let mut seen = self.seen.lock();
        seen.retain(|_, seen| seen.until > now);
        let before = seen.get(id).map(|seen| seen.withdrawn);
        let withdrawn = withdrawn || before == Some(true);
        seen.insert(id.to_owned(), Seen { withdrawn, until });
        before
    }

    /// Tells what is pending and how many that is.
    async fn list(&self) -> Result<usize, PhoneError> {
        let pending = self.phone.list_pending().await?;
        let ids: Vec<_> = pending
            .challenges
            .iter()
            .map(|one| one.id().to_owned())
            .collect();
        let count = ids.len();
        for challenge in pending.challenges {
            self.note(challenge.id(), false, challenge.expire_time());
            self.tell(Feed::Challenge(Box::new(challenge))).await;
        }
        for (_, error) in pending.refused {
            self.tell(Feed::Untrusted(error)).await;
        }
        for approval in pending.approved_elsewhere {
            self.approved(approval).await;
        }
        for notice in pending.notices {
            self.tell(Feed::Notice(notice)).await;
        }
        self.tell(Feed::Pending(ids)).await;
        Ok(count)
    }

    async fn approved(&self, approval: ApprovedElsewhere) {
        let known = {
            let mut told = self.told.lock();
            let id = approval.challenge.id().to_owned();
            told.retain(|_, at| self.phone.now() < *at + LONGEST_SHOWN);
            told.insert(id, approval.decide_time).is_some()
        };
        if !known {
            self.tell(Feed::ApprovedElsewhere(Box::new(approval))).await;
        }
    }
}
