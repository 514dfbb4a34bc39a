//! Who waits for what: callers for a challenge or a ticket, phones for
//! anything. Everything here is a wake-up; the truth is in the store.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
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

/// Somebody who waits in a topic. Smaller than a channel: there may be as many
/// as callers.
#[derive(Default)]
struct Bell(Mutex<Rung>);

#[derive(Default)]
struct Rung {
    /// Since it was last heard.
    rung: bool,
    waker: Option<Waker>,
}

impl Bell {
    fn ring(&self) {
        let waker = {
            let mut bell = self.0.lock();
            bell.rung = true;
            bell.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_heard(&self, cx: &Context<'_>) -> Poll<()> {
        let mut bell = self.0.lock();
        if std::mem::take(&mut bell.rung) {
            return Poll::Ready(());
        }
        keep(&mut bell.waker, cx);
        Poll::Pending
    }
}

/// Remembers whom to wake.
fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

/// One topic per key, there only while somebody waits on it.
pub(super) struct Topics<K> {
    waiting: Arc<Sharded<K, Vec<Arc<Bell>>>>,
}

impl<K: Hash + Eq + Copy> Topics<K> {
    fn new() -> Self {
        Self {
            waiting: Arc::new(Sharded::new()),
        }
    }

    /// Starts waiting. Whatever is told from now on is not missed.
    pub(super) fn wait_on(&self, key: K) -> Waiting<K> {
        let bell = Arc::<Bell>::default();
        self.waiting.with(&key, |map| {
            map.entry(key)
                // Mostly one caller waits for one thing.
                .or_insert_with(|| Vec::with_capacity(1))
                .push(bell.clone());
        });
        Waiting {
            key,
            bell,
            topics: self.waiting.clone(),
        }
    }

    /// Wakes those who wait on `key`.
    pub(super) fn tell(&self, key: K) {
        self.waiting.with(&key, |map| {
            for bell in map.get(&key).into_iter().flatten() {
                bell.ring();
            }
        });
    }

    /// Wakes everybody.
    pub(super) fn tell_all(&self) {
        for shard in &self.waiting.shards {
            for bell in shard.lock().values().flatten() {
                bell.ring();
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
    bell: Arc<Bell>,
    topics: Arc<Sharded<K, Vec<Arc<Bell>>>>,
}

impl<K: Hash + Eq + Copy> Waiting<K> {
    /// Ends when something was told since the last call, or since the start.
    pub(super) async fn changed(&mut self) {
        poll_fn(|cx| self.bell.poll_heard(cx)).await;
    }
}

impl<K: Hash + Eq + Copy> Drop for Waiting<K> {
    fn drop(&mut self) {
        self.topics.with(&self.key, |map| {
            if let Some(bells) = map.get_mut(&self.key) {
                bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
                if bells.is_empty() {
                    map.remove(&self.key);
                }
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

/// What a stream has still to send. Smaller than a channel, and mostly empty.
#[derive(Default)]
struct Letterbox(Mutex<Letters>);

#[derive(Default)]
struct Letters {
    waiting: VecDeque<DeviceEvent>,
    waker: Option<Waker>,
    /// Nothing more will come.
    closed: bool,
}

/// The broker's end of a stream; dropping it ends the stream after what waits.
struct OpenStream {
    number: u64,
    letterbox: Arc<Letterbox>,
}

impl OpenStream {
    /// `false`: there is no room.
    fn send(&self, event: &DeviceEvent) -> bool {
        let waker = {
            let mut letters = self.letterbox.0.lock();
            if letters.waiting.len() >= STREAM_BUFFER {
                return false;
            }
            letters.waiting.push_back(event.clone());
            letters.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let waker = {
            let mut letters = self.letterbox.0.lock();
            letters.closed = true;
            letters.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
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
    letterbox: Arc<Letterbox>,
    hub: Arc<Hub>,
}

impl Subscription {
    /// The next event; none when the stream is to end: the device is gone, or
    /// was too slow and must ask again for what is pending.
    pub async fn next(&mut self) -> Option<DeviceEvent> {
        poll_fn(|cx| {
            let mut letters = self.letterbox.0.lock();
            if let Some(event) = letters.waiting.pop_front() {
                if letters.waiting.is_empty() {
                    letters.waiting = VecDeque::new();
                }
                return Poll::Ready(Some(event));
            }
            if letters.closed {
                return Poll::Ready(None);
            }
            keep(&mut letters.waker, cx);
            Poll::Pending
        })
        .await
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
        let letterbox = Arc::<Letterbox>::default();
        self.streams.open.with(&device, |map| {
            let streams = map.entry(device).or_insert_with(|| Vec::with_capacity(1));
            if streams.len() >= MAX_STREAMS_PER_DEVICE {
                streams.remove(0);
            }
            streams.push(OpenStream {
                number,
                letterbox: letterbox.clone(),
            });
        });
        Subscription {
            device,
            number,
            letterbox,
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
                streams.retain(|stream| stream.send(event));
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
                streams.retain(|stream| stream.send(event));
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

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Alarm(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_is_woken_once_by_each_thing_that_ends_the_wait() {
        let hub = Hub::new();
        let (alarm, other) = (Arc::<Alarm>::default(), Arc::<Alarm>::default());
        let woken = |alarm: &Arc<Alarm>| alarm.0.load(std::sync::atomic::Ordering::Relaxed);
        let (waker, other_waker) = (Waker::from(alarm.clone()), Waker::from(other.clone()));
        let (mut cx, mut other_cx) = (
            Context::from_waker(&waker),
            Context::from_waker(&other_waker),
        );

        let (key, another) = (
            ChallengeId::from_bytes([1; 16]),
            ChallengeId::from_bytes([2; 16]),
        );
        let mut waiting = hub.challenges.wait_on(key);
        let mut bystander = hub.challenges.wait_on(another);
        {
            let mut changed = std::pin::pin!(waiting.changed());
            let mut unchanged = std::pin::pin!(bystander.changed());
            assert!(changed.as_mut().poll(&mut cx).is_pending());
            assert!(unchanged.as_mut().poll(&mut other_cx).is_pending());
            hub.challenges.tell(key);
            assert_eq!((woken(&alarm), woken(&other)), (1, 0));
            assert!(changed.poll(&mut cx).is_ready());
            assert!(unchanged.poll(&mut other_cx).is_pending());
        }

        let device = DeviceId::from_bytes([1; 16]);
        let mut stream = hub.subscribe(device);
        {
            let mut next = std::pin::pin!(stream.next());
            assert!(next.as_mut().poll(&mut cx).is_pending());
            hub.send(device, &DeviceEvent::Notices);
            assert_eq!(woken(&alarm), 2);
            assert!(matches!(next.poll(&mut cx), Poll::Ready(Some(_))));
        }
        let mut next = std::pin::pin!(stream.next());
        assert!(next.as_mut().poll(&mut cx).is_pending());
        hub.close(device);
        assert_eq!(woken(&alarm), 3);
        assert!(matches!(next.poll(&mut cx), Poll::Ready(None)));
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
