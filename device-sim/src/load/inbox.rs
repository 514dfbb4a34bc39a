//! Which sign-in waits for what reaches which phone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use countersign_proto::v1::SignedChallenge;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Parts that are locked on their own.
const SHARDS: usize = 64;

/// Something that reached a phone.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// When.
    pub(super) at: Instant,
    /// The challenge; none: a push that says "come and look".
    pub(super) challenge: Option<SignedChallenge>,
}

/// Whose phone: organisation and user.
pub(super) type Who = (usize, u64);

type Waiting = HashMap<Who, Vec<(u64, mpsc::UnboundedSender<News>)>>;

/// Phones whose owner is signing in.
pub(super) struct Inboxes {
    shards: Vec<Mutex<Waiting>>,
    next: AtomicU64,
}

impl Default for Inboxes {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(0),
        }
    }
}

/// What reaches one phone, for as long as this is kept.
pub(super) struct Inbox {
    who: Who,
    number: u64,
    news: mpsc::UnboundedReceiver<News>,
    all: Arc<Inboxes>,
}

impl Inboxes {
    fn with<T>(&self, who: Who, act: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let place = usize::try_from(who.1).unwrap_or_default() % SHARDS;
        self.shards.get(place).map(|shard| act(&mut shard.lock()))
    }

    /// From now on, what reaches this phone.
    pub(super) fn open(self: &Arc<Self>, who: Who) -> Inbox {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, news) = mpsc::unbounded_channel();
        self.with(who, |waiting| {
            waiting.entry(who).or_default().push((number, sender));
        });
        Inbox {
            who,
            number,
            news,
            all: Arc::clone(self),
        }
    }

    /// Whether anybody waits for it.
    pub(super) fn deliver(&self, who: Who, news: &News) -> bool {
        let given = self.with(who, |waiting| {
            let Some(inboxes) = waiting.get(&who) else {
                return false;
            };
            let mut given = false;
            for (_, inbox) in inboxes {
                given |= inbox.send(news.clone()).is_ok();
            }
            given
        });
        given.unwrap_or(false)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl Inbox {
    /// What comes next.
    pub(super) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let (who, number) = (self.who, self.number);
        self.all.with(who, |waiting| {
            if let Some(inboxes) = waiting.get_mut(&who) {
                inboxes.retain(|(other, _)| *other != number);
                if inboxes.is_empty() {
                    waiting.remove(&who);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_and_nothing_stays() {
        let inboxes = Arc::new(Inboxes::default());
        let news = News {
            at: Instant::now(),
            challenge: None,
        };
        assert!(!inboxes.deliver((0, 7), &news));
        let (mut one, mut other) = (inboxes.open((0, 7)), inboxes.open((0, 7)));
        let stranger = inboxes.open((1, 7));
        assert!(inboxes.deliver((0, 7), &news));
        assert_eq!(one.next().await.unwrap().at, news.at);
        assert_eq!(other.next().await.unwrap().at, news.at);
        drop(one);
        assert!(inboxes.deliver((0, 7), &news));
        drop((other, stranger));
        assert!(!inboxes.deliver((0, 7), &news));
        assert_eq!(inboxes.len(), 0);
    }
}
