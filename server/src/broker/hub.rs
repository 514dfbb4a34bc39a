//! Who waits for what: callers for a challenge or a ticket, phones for
//! anything. Everything here is a wake-up; the truth is in the store.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{
    challenge::{Final, Reason, SignedBody},
    ids::{ChallengeId, DeviceId, EnrollmentId, TenantId},
    signing_key::Succession,
};

const SHARDS: usize = 64;

/// A map in shards, so that callers rarely meet.
struct Sharded<K, V> {
    shards: Vec<Mutex<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K: Hash + Eq, V> Sharded<K, V> {
    fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn with<T>(&self, key: &K, f: impl FnOnce(&mut HashMap<K, V>) -> T) -> Option<T> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        self.shards
            .get(hash % SHARDS)
            .map(|shard| f(&mut shard.lock()))
    }
}

/// One topic per key, there only while somebody waits on it.
pub(super) struct Topics<K> {
    waiting: Arc<Sharded<K, watch::Sender<()>>>,
}

impl<K: Hash + Eq + Copy> Topics<K> {
    fn new() -> Self {
        Self {
            waiting: Arc::new(Sharded::new()),
        }
    }

    /// Starts waiting. Whatever is told from now on is not missed.
    pub(super) fn wait_on(&self, key: K) -> Waiting<K> {
        let receiver = self.waiting.with(&key, |map| {
            map.entry(key)
                .or_insert_with(|| watch::Sender::new(()))
                .subscribe()
        });
        Waiting {
            key,
            receiver,
            topics: self.waiting.clone(),
        }
    }

    /// Wakes those who wait on `key`.
    pub(super) fn tell(&self, key: K) {
        self.waiting.with(&key, |map| {
            if let Some(sender) = map.get(&key) {
                sender.send_replace(());
            }
        });
    }

    /// Wakes everybody.
    pub(super) fn tell_all(&self) {
        for shard in &self.waiting.shards {
            for sender in shard.lock().values() {
                sender.send_replace(());
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting
            .shards
            .iter()
            .map(|shard| shard.lock().len())
            .sum()
    }
}

/// Somebody's place in a topic; given up when dropped.
pub(super) struct Waiting<K: Hash + Eq + Copy> {
    key: K,
    receiver: Option<watch::Receiver<()>>,
    topics: Arc<Sharded<K, watch::Sender<()>>>,
}

impl<K: Hash + Eq + Copy> Waiting<K> {
    /// Ends when something was told since the last call, or since the start.
    pub(super) async fn changed(&mut self) {
        if let Some(receiver) = &mut self.receiver
            && receiver.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

impl<K: Hash + Eq + Copy> Drop for Waiting<K> {
    fn drop(&mut self) {
        let receiver = self.receiver.take();
        self.topics.with(&self.key, |map| {
            drop(receiver);
            if map
                .get(&self.key)
                .is_some_and(|sender| sender.receiver_count() == 0)
            {
                map.remove(&self.key);
            }
        });
    }
}

/// Something an open app should know.
#[derive(Clone, Debug)]
pub enum DeviceEvent {
    /// A challenge to show.
    Challenge(Arc<SignedBody>),
    /// A prompt to take away.
    Withdrawal {
        /// Which.
        challenge: ChallengeId,
        /// How it ended; none: it goes on without this device.
        end: Option<(Final, Reason)>,
    },
    /// There is a notice, to be read from the store.
    Notices,
    /// A new signing key of the broker.
    KeySuccession(Arc<Vec<Succession>>),
}

/// Streams of one device at most: an app has one, a reconnecting one two.
const MAX_STREAMS_PER_DEVICE: usize = 4;

/// Events that may wait for a slow phone before its stream is closed.
const STREAM_BUFFER: usize = 32;

struct OpenStream {
    number: u64,
    sender: mpsc::Sender<DeviceEvent>,
}

/// The open `Subscribe` streams.
struct Streams {
    open: Sharded<DeviceId, Vec<OpenStream>>,
    next: std::sync::atomic::AtomicU64,
}

/// One open stream; closed when dropped.
pub struct Subscription {
    device: DeviceId,
    number: u64,
    receiver: mpsc::Receiver<DeviceEvent>,
    hub: Arc<Hub>,
}

impl Subscription {
    /// The next event; none when the stream is to end: the device is gone, or
    /// was too slow and must ask again for what is pending.
    pub async fn next(&mut self) -> Option<DeviceEvent> {
        self.receiver.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.streams.open.with(&self.device, |map| {
            if let Some(streams) = map.get_mut(&self.device) {
                streams.retain(|stream| stream.number != self.number);
                if streams.is_empty() {
                    map.remove(&self.device);
                }
            }
        });
    }
}

/// All who wait.
pub struct Hub {
    pub(super) challenges: Topics<ChallengeId>,
    pub(super) enrollments: Topics<EnrollmentId>,
    /// Events of an organisation.
    pub(super) events: Topics<TenantId>,
    streams: Streams,
    /// Cancelled when the broker stops taking work: waiting calls end.
    pub(super) stopping: CancellationToken,
}

impl Hub {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            challenges: Topics::new(),
            enrollments: Topics::new(),
            events: Topics::new(),
            streams: Streams {
                open: Sharded::new(),
                next: 0.into(),
            },
            stopping: CancellationToken::new(),
        })
    }

    /// Opens a stream to `device`. Its oldest gives way when there are too many.
    pub(super) fn subscribe(self: &Arc<Self>, device: DeviceId) -> Subscription {
        let number = self
            .streams
            .next
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        self.streams.open.with(&device, |map| {
            let streams = map.entry(device).or_default();
            if streams.len() >= MAX_STREAMS_PER_DEVICE {
                streams.remove(0);
            }
            streams.push(OpenStream { number, sender });
        });
        Subscription {
            device,
            number,
            receiver,
            hub: self.clone(),
        }
    }

    /// Whether `device` has an open stream.
    pub(super) fn is_subscribed(&self, device: DeviceId) -> bool {
        self.streams
            .open
            .with(&device, |map| map.contains_key(&device))
            .unwrap_or_default()
    }

    /// Tells `device`. A stream that can't take it is closed.
    pub(super) fn send(&self, device: DeviceId, event: &DeviceEvent) {
        self.streams.open.with(&device, |map| {
            if let Some(streams) = map.get_mut(&device) {
                streams.retain(|stream| stream.sender.try_send(event.clone()).is_ok());
                if streams.is_empty() {
                    map.remove(&device);
                }
            }
        });
    }

    /// Tells every open stream.
    pub(super) fn send_all(&self, event: &DeviceEvent) {
        for shard in &self.streams.open.shards {
            shard.lock().retain(|_, streams| {
                streams.retain(|stream| stream.sender.try_send(event.clone()).is_ok());
                !streams.is_empty()
            });
        }
    }

    /// Ends the streams of a device that is gone.
    pub(super) fn close(&self, device: DeviceId) {
        self.streams.open.with(&device, |map| map.remove(&device));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn nothing_told_after_the_start_is_missed_and_nobody_is_forgotten() {
        let hub = Hub::new();
        let key = ChallengeId::from_bytes([1; 16]);
        let mut first = hub.challenges.wait_on(key);
        let mut second = hub.challenges.wait_on(key);
        hub.challenges.tell(ChallengeId::from_bytes([2; 16]));
        hub.challenges.tell(key);
        first.changed().await;
        second.changed().await;
        hub.challenges.tell_all();
        first.changed().await;
        assert_eq!(hub.challenges.len(), 1);
        drop(first);
        assert_eq!(hub.challenges.len(), 1);
        drop(second);
        assert_eq!(hub.challenges.len(), 0);
    }

    #[tokio::test]
    async fn a_slow_phone_loses_its_stream_not_the_broker_its_memory() {
        let hub = Hub::new();
        let device = DeviceId::from_bytes([1; 16]);
        let mut slow = hub.subscribe(device);
        let event = DeviceEvent::KeySuccession(Arc::default());
        for _ in 0..STREAM_BUFFER {
            hub.send(device, &event);
        }
        assert!(hub.is_subscribed(device));
        hub.send(device, &event);
        assert!(!hub.is_subscribed(device));
        for _ in 0..STREAM_BUFFER {
            assert!(slow.next().await.is_some());
        }
        assert!(slow.next().await.is_none());
    }
}
