//! What the broker has acknowledged, as its callers wrote it down.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use countersign_proto::v1::{self, ChallengeState as S, Decision, DecisionReason as R};
use device_sim::phone::Phone;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Unacknowledged;

/// How a challenge ended.
pub(super) type End = (S, R);

/// One sign-in, from request to receipt.
#[derive(Clone, Debug)]
pub(super) struct SignIn {
    pub(super) request: v1::CreateChallengeRequest,
    /// As acknowledged; none: the answer never came.
    pub(super) created: Option<v1::Challenge>,
    /// What was sent to end it, acknowledged or not.
    pub(super) tried: Option<End>,
    /// How it ended, as acknowledged to whoever ended it.
    pub(super) acknowledged: Option<End>,
    /// The whole as first seen after its end, receipt included.
    pub(super) seen: Option<v1::Challenge>,
}

/// How a decision shows.
pub(super) fn end_of(decision: Decision) -> End {
    match decision {
        Decision::Approve => (S::Approved, R::UserApproved),
        Decision::Deny => (S::Denied, R::UserDenied),
        Decision::ReportFraud => (S::Denied, R::FraudReported),
        Decision::Unspecified => panic!("no decision"),
    }
}

/// Shared by all callers.
#[derive(Default)]
pub(super) struct Ledger {
    /// By `request_id`.
    pub(super) sign_ins: Mutex<BTreeMap<String, SignIn>>,
    pub(super) phones: Mutex<Vec<Phone>>,
    acknowledged: AtomicUsize,
    /// After how many of them the broker is killed.
    limit: AtomicUsize,
    reached: Notify,
    pub(super) killed: AtomicBool,
}

impl Ledger {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Begins a round that ends after so many further acknowledgements.
    pub(super) fn begin(&self, further: usize) {
        self.killed.store(false, Ordering::SeqCst);
        let now = self.acknowledged.load(Ordering::SeqCst);
        self.limit.store(now + further, Ordering::SeqCst);
    }

    /// Waits for the round's last acknowledgement.
    pub(super) async fn round_over(&self) {
        self.reached.notified().await;
        self.killed.store(true, Ordering::SeqCst);
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn count(&self) {
        let now = self.acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
        if now == self.limit.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// Nothing fails but by being killed.
    pub(super) fn check(&self, error: &Unacknowledged) {
        assert!(self.killed.load(Ordering::SeqCst), "{}", error.0);
    }

    pub(super) fn asking(&self, request: &v1::CreateChallengeRequest) {
        let sign_in = SignIn {
            request: request.clone(),
            created: None,
            tried: None,
            acknowledged: None,
            seen: None,
        };
        let before = self
            .sign_ins
            .lock()
            .insert(request.request_id.clone(), sign_in);
        assert!(before.is_none());
    }

    pub(super) fn update(&self, request_id: &str, change: impl FnOnce(&mut SignIn)) {
        change(self.sign_ins.lock().get_mut(request_id).unwrap());
    }

    pub(super) fn created(&self, request_id: &str, challenge: v1::Challenge) {
        self.update(request_id, |it| it.created = Some(challenge));
        self.count();
    }

    pub(super) fn trying(&self, request_id: &str, end: End) {
        self.update(request_id, |it| it.tried = Some(end));
    }

    pub(super) fn ended(&self, request_id: &str, end: End) {
        self.update(request_id, |it| {
            assert!(it.acknowledged.is_none_or(|before| before == end));
            it.acknowledged = Some(end);
        });
        self.count();
    }

    /// Somebody saw the challenge ended: whoever sees it must see the same.
    pub(super) fn saw(&self, request_id: &str, challenge: &v1::Challenge) {
        let end = (challenge.state(), challenge.reason());
        assert_ne!(end.0, S::Pending);
        assert!(!challenge.receipt.is_empty());
        self.update(request_id, |it| {
            match &it.seen {
                Some(before) => assert_eq!(before, challenge, "a decision changed"),
                None => it.seen = Some(challenge.clone()),
            }
            if let Some(acknowledged) = it.acknowledged {
                assert_eq!(acknowledged, end, "another decision than acknowledged");
            }
            assert_eq!(it.tried, Some(end), "a decision out of nowhere");
        });
    }

    pub(super) fn enrolled(&self, phone: Phone) {
        self.phones.lock().push(phone);
        self.count();
    }
}
