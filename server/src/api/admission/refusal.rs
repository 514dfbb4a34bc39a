//! Answers made beforehand: refusing must cost far less than serving.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tonic::{Code, body::Body};

use crate::api::status::{build, info};

/// When the refused are to come back: spread evenly, so that they do not come
/// back together. Few enough for each connection's HPACK table (4 KiB, RFC
/// 9113, section 6.5.2) to hold them all.
const COME_BACK_MS: [u64; 8] = [1_000, 1_375, 1_750, 2_125, 2_500, 2_875, 3_250, 3_625];

/// One refusal, said in [`COME_BACK_MS`] ways in turn.
#[derive(Debug)]
pub(super) struct Refusal {
    answers: Vec<http::HeaderMap>,
    next: AtomicUsize,
}

impl Refusal {
    pub(super) fn new(reason: &str, message: &str) -> Self {
        let answers = COME_BACK_MS.map(|delay| {
            let mut details = info(reason, []);
            details.set_retry_info(Some(Duration::from_millis(delay)));
            let status = build(Code::ResourceExhausted, message.to_owned(), details);
            let response: http::Response<Body> = status.into_http();
            response.into_parts().0.headers
        });
        Self {
            answers: answers.into(),
            next: AtomicUsize::new(0),
        }
    }

    pub(super) fn answer(&self) -> http::Response<Body> {
        let turn = self.next.fetch_add(1, Relaxed) % COME_BACK_MS.len();
        let mut response = http::Response::new(Body::empty());
        if let Some(headers) = self.answers.get(turn) {
            response.headers_mut().clone_from(headers);
        }
        response
    }
}
