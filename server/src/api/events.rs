//! Events, for identity providers.

use std::{pin::Pin, sync::Arc};

use countersign_proto::v1;
use futures_util::{Stream, stream};
use tonic::{Response, Status};

use super::{approval::invalid, convert, status::status};
use crate::{
    broker::{
        Broker, IdpCaller,
        events::{News, Place},
    },
    domain::{
        Invalid,
        body::timestamp,
        challenge::Reason,
        event::{Authenticator, TenantEvent, What},
    },
};

/// Longest place that is looked at, bytes.
const MAX_TOKEN: usize = 256;

type Answers = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

fn place(text: &str) -> Result<Option<Place>, Invalid> {
    match text.len() {
        0 => Ok(None),
        1..=MAX_TOKEN => Place::parse("resume_token", text).map(Some),
        _ => Err(Invalid::new("resume_token", "must have at most 256 bytes")),
    }
}

fn types(numbers: &[i32]) -> Result<Vec<v1::EventType>, Invalid> {
    let mut types = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        match v1::EventType::try_from(*number) {
            Ok(kind) if kind != v1::EventType::Unspecified => {
                if !types.contains(&kind) {
                    types.push(kind);
                }
            }
            _ => return Err(Invalid::new(format!("types[{at}]"), "is not known")),
        }
    }
    Ok(types)
}

fn event(event: TenantEvent) -> v1::Event {
    let mut out = v1::Event {
        time: Some(timestamp(event.time)),
        user_id: event.user,
        ..v1::Event::default()
    };
    let kind = match event.what {
        What::Decided {
            challenge,
            state,
            reason,
            device,
        } => {
            out.challenge_id = challenge.to_string();
            out.state = convert::state(state).into();
            out.reason = convert::reason(reason).into();
            out.device_id = device.map(|id| id.to_string()).unwrap_or_default();
            if reason == Reason::FraudReported {
                v1::EventType::Reported
            } else {
                v1::EventType::Decided
            }
        }
        What::Revoked { challenge, device } => {
            out.challenge_id = challenge.to_string();
            out.device_id = device.to_string();
            v1::EventType::Revoked
        }
        What::Enrolled(what) => {
            authenticator(&mut out, what);
            v1::EventType::Enrolled
        }
        What::Removed(what) => {
            authenticator(&mut out, what);
            v1::EventType::Removed
        }
        What::Locked(reason) => {
            out.lock_reason = convert::lock_reason(reason).into();
            v1::EventType::Locked
        }
        What::Unlocked => v1::EventType::Unlocked,
        What::Reset => v1::EventType::Reset,
    };
    out.r#type = kind.into();
    out
}

fn authenticator(out: &mut v1::Event, what: Authenticator) {
    let (id, kind) = match what {
        Authenticator::Device(id) => (id.to_string(), v1::AuthenticatorType::Device),
        Authenticator::PhoneNumber(id) => (id.to_string(), v1::AuthenticatorType::PhoneNumber),
        Authenticator::TotpApp(id) => (id.to_string(), v1::AuthenticatorType::TotpApp),
        Authenticator::RecoveryCodes(id) => (id.to_string(), v1::AuthenticatorType::RecoveryCodes),
    };
    out.authenticator_id = id;
    out.authenticator_type = kind.into();
}

/// What is told; none for an event that was not asked for.
fn answer(news: News, after: &Place, types: &[v1::EventType]) -> Option<v1::WatchEventsResponse> {
    use v1::watch_events_response::Item;
    let item = match news {
        News::Event(happened) => {
            let event = event(happened);
            if !types.is_empty() && !types.contains(&event.r#type()) {
                return None;
            }
            Item::Event(event)
        }
        News::CaughtUp(now) => Item::CaughtUp(v1::EventsCaughtUp {
            server_time: Some(timestamp(now)),
        }),
    };
    Some(v1::WatchEventsResponse {
        item: Some(item),
        resume_token: after.to_string(),
    })
}

pub(super) async fn watch(
    broker: &Arc<Broker>,
    caller: IdpCaller,
    request: v1::WatchEventsRequest,
) -> Result<Response<Answers>, Status> {
    let place = place(&request.resume_token).map_err(invalid)?;
    let types = types(&request.types).map_err(invalid)?;
    let watch = broker.watch_events(caller, place).await.map_err(status)?;
    let answers = stream::unfold(Some((watch, types)), |state| async {
        let (mut watch, types) = state?;
        loop {
            match watch.next().await {
                Ok((news, after)) => {
                    if let Some(answer) = answer(news, &after, &types) {
                        return Some((Ok(answer), Some((watch, types))));
                    }
                }
                Err(error) => return Some((Err(status(error)), None)),
            }
        }
    });
    Ok(Response::new(Box::pin(answers)))
}
