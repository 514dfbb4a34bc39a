//! The stream of an open app: what is there at the start, then what comes.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use countersign_proto::v1;
use futures_util::{Stream, stream};
use tonic::Status;

use super::{convert, status::status};
use crate::{
    broker::{
        Broker,
        error::BrokerError,
        hub::{DeviceEvent, Subscription},
    },
    domain::{
        body::timestamp,
        challenge::{Final, Reason, SignedBody},
        device::Device,
        ids::{ChallengeId, DeviceId},
        notice::Kept,
        signing_key::Succession,
        text::Notice,
        time::Timestamp,
    },
};
use v1::subscribe_response::Event;

/// Answers of `Subscribe`.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

pub(super) fn recent_approval((signed, decided): &(SignedBody, Timestamp)) -> v1::RecentApproval {
    v1::RecentApproval {
        challenge: Some(convert::signed_challenge(signed)),
        decide_time: Some(timestamp(*decided)),
    }
}

pub(super) fn notice(kept: &Kept) -> v1::Notice {
    let kind = match &kept.notice {
        Notice::DeviceAdded(_) => v1::NoticeKind::DeviceAdded,
        Notice::DeviceRemoved(_) => v1::NoticeKind::DeviceRemoved,
        Notice::PhoneAdded(_) => v1::NoticeKind::PhoneAdded,
        Notice::PhoneRemoved(_) => v1::NoticeKind::PhoneRemoved,
        Notice::TotpAdded => v1::NoticeKind::TotpAdded,
        Notice::TotpRemoved => v1::NoticeKind::TotpRemoved,
        Notice::RecoveryCodesCreated => v1::NoticeKind::RecoveryCodesCreated,
        Notice::RecoveryCodesRemoved => v1::NoticeKind::RecoveryCodesRemoved,
        Notice::AccountLocked => v1::NoticeKind::AccountLocked,
        Notice::AccountReset => v1::NoticeKind::AccountReset,
        Notice::AccountUnlocked => v1::NoticeKind::AccountUnlocked,
    };
    v1::Notice {
        number: kept.number,
        notice_id: uuid::Uuid::from_bytes(kept.id).to_string(),
        kind: kind.into(),
        arguments: kept
            .notice
            .detail()
            .map(str::to_owned)
            .into_iter()
            .collect(),
        time: Some(timestamp(kept.time)),
    }
}

fn withdrawal(challenge: ChallengeId, end: Option<(Final, Reason)>) -> v1::Withdrawal {
    v1::Withdrawal {
        challenge_id: challenge.to_string(),
        state: end
            .map_or(v1::ChallengeState::Unspecified, |(end, _)| {
                convert::state(end)
            })
            .into(),
        reason: end
            .map_or(v1::DecisionReason::Unspecified, |(_, reason)| {
                convert::reason(reason)
            })
            .into(),
    }
}

/// An app that is open. Little of it is kept: there may be many.
struct OpenApp {
    broker: Arc<Broker>,
    device: DeviceId,
    subscription: Subscription,
    /// To be sent before anything else.
    ready: VecDeque<Event>,
    /// The last notice that was sent, or that the phone has.
    last_notice: u64,
}

/// Takes care that the gauge comes down whichever way a stream ends.
impl Drop for OpenApp {
    fn drop(&mut self) {
        self.broker.metrics.subscribed(-1);
    }
}

impl OpenApp {
    /// What there is at the start.
    async fn begin(&mut self, device: &Device) -> Result<(), BrokerError> {
        let successions = self.broker.successions();
        if !successions.is_empty() {
            self.ready.push_back(key_update(&successions));
        }
        for signed in self.broker.list_pending(device).await? {
            let signed = convert::signed_challenge(&signed);
            self.ready.push_back(Event::Challenge(signed));
        }
        for approval in &self.broker.recent_approvals(device).await? {
            let approval = recent_approval(approval);
            self.ready.push_back(Event::RecentApproval(approval));
        }
        self.read_notices(device).await?;
        self.ready.push_back(Event::CaughtUp(v1::CaughtUp {
            server_time: Some(timestamp(self.broker.now())),
        }));
        Ok(())
    }

    async fn read_notices(&mut self, device: &Device) -> Result<(), BrokerError> {
        for kept in self.broker.notices(device, self.last_notice).await? {
            self.last_notice = kept.number;
            self.ready.push_back(Event::Notice(notice(&kept)));
        }
        Ok(())
    }

    /// There are notices to be read. None for a device that is gone: its stream
    /// is being closed.
    async fn take_notices(&mut self) -> Result<(), BrokerError> {
        match self.broker.device(self.device).await? {
            Some(device) => self.read_notices(&device).await,
            None => Ok(()),
        }
    }

    /// What is next; none when the stream is to end.
    async fn next(&mut self) -> Result<Option<Event>, BrokerError> {
        let stopping = self.broker.stopping();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            self.ready = VecDeque::new();
            let event = tokio::select! {
                event = self.subscription.next() => event,
                () = stopping.cancelled() => return Err(BrokerError::Unavailable),
            };
            return Ok(Some(match event {
                None => return Ok(None),
                Some(DeviceEvent::Notices) => {
                    Box::pin(self.take_notices()).await?;
                    continue;
                }
                Some(DeviceEvent::Challenge(signed)) => {
                    Event::Challenge(convert::signed_challenge(&signed))
                }
                Some(DeviceEvent::Withdrawal { challenge, end }) => {
                    Event::Withdrawal(withdrawal(challenge, end))
                }
                Some(DeviceEvent::KeySuccession(successions)) => key_update(&successions),
            }));
        }
    }
}

fn key_update(successions: &[Succession]) -> Event {
    Event::KeyUpdate(v1::KeyUpdate {
        key_successions: convert::successions(successions),
    })
}

/// Opens the stream of `device`, which has the notices up to `last_notice`.
pub(super) async fn open(
    broker: &Arc<Broker>,
    device: Device,
    last_notice: u64,
) -> Result<Answers, Status> {
    // First the stream, then the look at what is pending: nothing falls
    // between, at worst something comes twice.
    let subscription = broker.subscribe(&device).await.map_err(status)?;
    broker.metrics.subscribed(1);
    let mut app = Box::new(OpenApp {
        broker: broker.clone(),
        device: device.id,
        subscription,
        ready: VecDeque::new(),
        last_notice,
    });
    app.begin(&device).await.map_err(status)?;
    let answers = stream::unfold(Some(app), |app| async {
        let mut app = app?;
        match app.next().await {
            Ok(Some(event)) => {
                let event = Some(event);
                Some((Ok(v1::SubscribeResponse { event }), Some(app)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(status(error)), None)),
        }
    });
    Ok(Box::pin(answers))
}
