//! Answers to callers that nobody knows: health and reflection.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

/// A body that holds a place for as long as it lives and ends when the broker
/// stops: somebody who watches its health must not keep it from stopping.
struct Bounded {
    inner: Body,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

pub(super) fn bounded(
    response: http::Response<Body>,
    place: OwnedSemaphorePermit,
    stopping: CancellationToken,
) -> http::Response<Body> {
    response.map(|inner| {
        Body::new(Bounded {
            inner,
            stopping: Box::pin(stopping.cancelled_owned()),
            _place: place,
        })
    })
}

impl http_body::Body for Bounded {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending if self.stopping.as_mut().poll(cx).is_ready() => {
                let status = super::status::status(crate::broker::error::BrokerError::Unavailable);
                let mut trailers = http::HeaderMap::new();
                Poll::Ready(match status.add_header(&mut trailers) {
                    Ok(()) => Some(Ok(Frame::trailers(trailers))),
                    Err(error) => Some(Err(error)),
                })
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
