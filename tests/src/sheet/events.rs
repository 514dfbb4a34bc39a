//! The identity provider's ear: what happens in the organisation.

use countersign_proto::v1::{self, watch_events_response::Item};
use tonic::Streaming;

use super::Line;
use crate::in_time;

/// What happens in the organisation, followed from a place on, wherever the broker
/// is.
pub struct Events {
    line: Line,
    place: String,
}

impl Events {
    /// From now on.
    pub(super) async fn follow(line: Line) -> Self {
        let mut events = Self {
            line,
            place: String::new(),
        };
        let mut stream = events.open().await;
        let first = in_time(stream.message()).await.unwrap().unwrap();
        events.place = first.resume_token;
        events
    }

    async fn open(&self) -> Streaming<v1::WatchEventsResponse> {
        let request = v1::WatchEventsRequest {
            resume_token: self.place.clone(),
            types: Vec::new(),
        };
        let watched = self.line.approvals().watch_events(request).await;
        watched.unwrap().into_inner()
    }

    /// The next of this type about this challenge.
    pub(super) async fn until(&mut self, wanted: v1::EventType, challenge_id: &str) -> v1::Event {
        let mut stream = self.open().await;
        loop {
            let told = in_time(stream.message()).await.unwrap().unwrap();
            self.place = told.resume_token;
            if let Some(Item::Event(event)) = told.item
                && event.r#type() == wanted
                && event.challenge_id == challenge_id
            {
                return event;
            }
        }
    }
}
