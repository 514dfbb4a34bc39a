//! Several devices of one user: who decides, who may say later that it wasn't
//! them, who is told of what, and what becomes of a phone that is lost, replaced
//! or reset. Identity providers follow all of it.

mod dissent;
mod events;
mod notices;
mod phones;

use countersign_proto::v1::{self, EventType, watch_events_response::Item};
use countersign_tests::{Tenant, TestBroker, in_time};
use device_sim::phone::{Phone, VerifiedChallenge};
use tonic::{Status, Streaming};

/// Somebody who follows the events of an organisation.
struct Follower {
    stream: Streaming<v1::WatchEventsResponse>,
    /// The place after the last answer.
    token: String,
}

async fn watch(
    broker: &TestBroker,
    tenant: &Tenant,
    resume_token: &str,
) -> Result<Streaming<v1::WatchEventsResponse>, Status> {
    let request = v1::WatchEventsRequest {
        resume_token: resume_token.into(),
        ..v1::WatchEventsRequest::default()
    };
    let answer = broker.approvals(tenant).watch_events(request).await?;
    Ok(answer.into_inner())
}

impl Follower {
    /// From a place on.
    async fn from(broker: &TestBroker, tenant: &Tenant, token: &str) -> Self {
        Self {
            stream: watch(broker, tenant, token).await.unwrap(),
            token: token.to_owned(),
        }
    }

    /// From now on: the place is known.
    async fn now(broker: &TestBroker, tenant: &Tenant) -> Self {
        let mut follower = Self::from(broker, tenant, "").await;
        assert_eq!(follower.next().await, None);
        follower
    }

    /// An event, or none: there is no more for now.
    async fn next(&mut self) -> Option<v1::Event> {
        let answer = in_time(self.stream.message()).await.unwrap().unwrap();
        self.token = answer.resume_token;
        assert!(!self.token.is_empty() && self.token.len() <= 256);
        match answer.item.unwrap() {
            Item::Event(event) => Some(event),
            Item::CaughtUp(_) => None,
        }
    }

    /// The next event.
    async fn event(&mut self) -> v1::Event {
        loop {
            if let Some(event) = self.next().await {
                return event;
            }
        }
    }

    /// The next events, by type.
    async fn types(&mut self, count: usize) -> Vec<EventType> {
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(self.event().await.r#type());
        }
        types
    }

    /// All that is there at present.
    async fn rest(&mut self) -> Vec<v1::Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// What a phone may answer, checked: this one.
async fn fetch(phone: &Phone, id: &str) -> VerifiedChallenge {
    let pending = phone.list_pending().await.unwrap();
    let mut found = pending.challenges.into_iter();
    found.find(|one| one.id() == id).expect("not pending")
}

/// Asks, and lets `phone` answer: the challenge as it was shown.
async fn answered(
    broker: &TestBroker,
    tenant: &Tenant,
    phone: &Phone,
    decision: v1::Decision,
) -> VerifiedChallenge {
    let asked = broker.ask(tenant, phone.user_id()).await;
    let shown = fetch(phone, &asked.challenge_id).await;
    phone.respond(&shown, decision, "").await.unwrap();
    shown
}

/// Rules without number matching, and with this for reports.
fn rules(on_report: v1::OnReport) -> v1::TenantPolicy {
    v1::TenantPolicy {
        number_matching: v1::NumberMatching::Off.into(),
        fatigue: Some(v1::FatiguePolicy {
            on_report: on_report.into(),
            ..v1::FatiguePolicy::default()
        }),
        ..v1::TenantPolicy::default()
    }
}

async fn reset(broker: &TestBroker, tenant: &Tenant, user: &str) {
    let request = v1::ResetUserRequest {
        tenant_id: tenant.id.clone(),
        user_id: user.into(),
    };
    broker.admin().reset_user(request).await.unwrap();
}

async fn unlock(broker: &TestBroker, tenant: &Tenant, user: &str) {
    let request = v1::UnlockUserRequest {
        tenant_id: tenant.id.clone(),
        user_id: user.into(),
    };
    broker.admin().unlock_user(request).await.unwrap();
}

async fn remove(broker: &TestBroker, tenant: &Tenant, phone: &Phone) {
    let request = v1::RemoveAuthenticatorRequest {
        user_id: phone.user_id().into(),
        authenticator_id: phone.device_id().into(),
    };
    let mut enrollments = broker.enrollments(tenant);
    enrollments.remove_authenticator(request).await.unwrap();
}
