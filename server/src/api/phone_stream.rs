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
        ids::ChallengeId,
        notice::Kept,
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

/// An app that is open.
struct OpenApp {
    broker: Arc<Broker>,
    device: Device,
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
    async fn begin(&mut self) -> Result<(), BrokerError> {
        let successions = self.broker.successions();
        if !successions.is_empty() {
            self.take(DeviceEvent::KeySuccession(Arc::new(successions)))
                .await?;
        }
        for signed in self.broker.list_pending(&self.device).await? {
            self.take(DeviceEvent::Challenge(Arc::new(signed))).await?;
        }
        for approval in &self.broker.recent_approvals(&self.device).await? {
            let approval = recent_approval(approval);
            self.ready.push_back(Event::RecentApproval(approval));
        }
        self.take(DeviceEvent::Notices).await?;
        self.ready.push_back(Event::CaughtUp(v1::CaughtUp {
            server_time: Some(timestamp(self.broker.now())),
        }));
        Ok(())
    }

    async fn take(&mut self, event: DeviceEvent) -> Result<(), BrokerError> {
        let event = match event {
            DeviceEvent::Challenge(signed) => Event::Challenge(convert::signed_challenge(&signed)),
            DeviceEvent::Withdrawal { challenge, end } => {
                Event::Withdrawal(withdrawal(challenge, end))
            }
            DeviceEvent::KeySuccession(successions) => Event::KeyUpdate(v1::KeyUpdate {
                key_successions: convert::successions(&successions),
            }),
            DeviceEvent::Notices => {
                let broker = &self.broker;
                for kept in broker.notices(&self.device, self.last_notice).await? {
                    self.last_notice = kept.number;
                    self.ready.push_back(Event::Notice(notice(&kept)));
                }
                return Ok(());
            }
        };
        self.ready.push_back(event);
        Ok(())
    }

    /// What is next; none when the stream is to end.
    async fn next(&mut self) -> Result<Option<Event>, BrokerError> {
        let stopping = self.broker.stopping();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let event = tokio::select! {
                event = self.subscription.next() => event,
                () = stopping.cancelled() => return Err(BrokerError::Unavailable),
            };
            match event {
                Some(event) => self.take(event).await?,
                None => return Ok(None),
            }
        }
    }
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
    let mut app = OpenApp {
        broker: broker.clone(),
        device,
        subscription,
        ready: VecDeque::new(),
        last_notice,
    };
    app.begin().await.map_err(status)?;
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
