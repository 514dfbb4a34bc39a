//! Answers made beforehand: refusing must cost far less than serving.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::Body as _;
use tonic::{Code, Status, body::Body};

use super::{
    Response,
    unfinished::{Turn, Unfinished},
};
use crate::api::status::{build, info};

/// When the refused are to come back: spread evenly, so that they do not come
/// back together. Few enough for each connection's HPACK table (4 KiB, RFC
/// 9113, section 6.5.2) to hold them all.
const COME_BACK_MS: [u64; 8] = [1_000, 1_375, 1_750, 2_125, 2_500, 2_875, 3_250, 3_625];

/// One refusal, said in [`COME_BACK_MS`] ways in turn.
#[derive(Debug)]
pub(super) struct Refusal {
    statuses: Vec<Status>,
    answers: Vec<http::HeaderMap>,
    next: AtomicUsize,
}

impl Refusal {
    pub(super) fn new(reason: &str, message: &str) -> Self {
        let statuses = COME_BACK_MS.map(|delay| {
            let mut details = info(reason, []);
            details.set_retry_info(Some(Duration::from_millis(delay)));
            build(Code::ResourceExhausted, message.to_owned(), details)
        });
        let answers = statuses.iter().map(|status| {
            let response: Response = status.clone().into_http();
            response.into_parts().0.headers
        });
        Self {
            answers: answers.collect(),
            statuses: statuses.into(),
            next: AtomicUsize::new(0),
        }
    }

    fn turn(&self) -> usize {
        self.next.fetch_add(1, Relaxed) % COME_BACK_MS.len()
    }

    /// For those whose message was read.
    pub(super) fn status(&self) -> Status {
        let status = self.statuses.get(self.turn()).cloned();
        status.unwrap_or_else(|| Status::resource_exhausted(""))
    }

    pub(super) fn answer(&self) -> Response {
        let turn = self.turn();
        let mut response = http::Response::new(Body::empty());
        if let Some(headers) = self.answers.get(turn) {
            response.headers_mut().clone_from(headers);
        }
        response
    }
}

/// How long the rest of a refused call's message is waited for. It has mostly
/// come with the beginning. Answers given before the end make the library
/// reset the stream, and a peer that goes on sending on many such streams
/// loses its connection (h2 allows 1024).
const PATIENCE: Duration = Duration::from_secs(1);

/// A refusal on its way: what has come of the message is thrown away first.
pub(crate) struct Refused {
    body: Body,
    left: usize,
    answer: Option<Response>,
    unfinished: Arc<Unfinished>,
    waiting: Option<(Turn, Pin<Box<tokio::time::Sleep>>)>,
}

impl Refused {
    /// Refuses a call with this message, of at most `longest` bytes.
    pub(super) fn new(
        refusal: &Refusal,
        body: Body,
        longest: usize,
        unfinished: &Arc<Unfinished>,
    ) -> Self {
        Self {
            body,
            left: longest.saturating_add(1024),
            answer: Some(refusal.answer()),
            unfinished: unfinished.clone(),
            waiting: None,
        }
    }
}

impl Future for Refused {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let this = &mut *self;
        while !this.body.is_end_stream() && this.left > 0 {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                    this.left = this.left.saturating_sub(bytes.max(1));
                }
                Poll::Ready(None | Some(Err(_))) => break,
                Poll::Pending => {
                    let (turn, patience) = this.waiting.get_or_insert_with(|| {
                        let patience = tokio::time::sleep(PATIENCE);
                        (this.unfinished.enter(), Box::pin(patience))
                    });
                    if turn.poll_given_up(cx).is_pending() {
                        ready!(patience.as_mut().poll(cx));
                    }
                    break;
                }
            }
        }
        Poll::Ready(this.answer.take().unwrap_or_default())
    }
}
