//! Answers that hold a place for as long as they last.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

type Response = http::Response<Body>;

/// Of a longer part the last byte goes by itself. The library takes a part whole
/// as soon as the peer takes one byte of it, and sends the rest when it can: then
/// nothing here would be left to be held while it can't.
const LONG: usize = 2048;

/// A body that keeps `P` until it is dropped.
struct Kept<P> {
    inner: Body,
    last: Option<Bytes>,
    /// Ends it when the broker stops.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _place: P,
}

/// An answer that keeps `place` until it has been read.
pub(super) fn keep<P: Send + Unpin + 'static>(response: Response, place: Option<P>) -> Response {
    match place {
        Some(place) if !http_body::Body::is_end_stream(response.body()) => {
            wrap(response, place, None)
        }
        _ => response,
    }
}

/// As [`keep`], and it ends when the broker stops: somebody who watches its
/// health must not keep it from stopping.
pub(super) fn keep_until<P: Send + Unpin + 'static>(
    response: Response,
    place: P,
    stopping: CancellationToken,
) -> Response {
    wrap(response, place, Some(Box::pin(stopping.cancelled_owned())))
}

fn wrap<P: Send + Unpin + 'static>(
    response: Response,
    place: P,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
) -> Response {
    response.map(|inner| {
        Body::new(Kept {
            inner,
            last: None,
            stopping,
            _place: place,
        })
    })
}

impl<P: Unpin> http_body::Body for Kept<P> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(part))) = &mut frame
            && let Some(bytes) = part.data_mut()
            && bytes.len() > LONG
        {
            self.last = Some(bytes.split_off(bytes.len() - 1));
        }
        let (Poll::Pending, Some(stopping)) = (&frame, &mut self.stopping) else {
            return frame;
        };
        stopping.as_mut().poll(cx).map(|()| {
            let status = super::status::status(crate::broker::error::BrokerError::Unavailable);
            let mut trailers = http::HeaderMap::new();
            Some(
                status
                    .add_header(&mut trailers)
                    .map(|()| Frame::trailers(trailers)),
            )
        })
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use http_body_util::{BodyExt as _, Full};

    use super::*;

    /// What the library has taken it may hold for long: the place must outlast it.
    #[tokio::test]
    async fn a_long_answer_keeps_its_place_until_its_last_byte_is_taken() {
        for length in [1, LONG, LONG + 1, 3 * LONG] {
            let sent = Bytes::from(vec![7; length]);
            let place = Arc::new(());
            let answer = http::Response::new(Body::new(Full::new(sent.clone())));
            let mut body = keep(answer, Some(place.clone())).into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(Arc::strong_count(&place), 2);
            let last = length > LONG;
            assert_eq!(http_body::Body::is_end_stream(&body), !last);
            let rest = body.collect().await.unwrap().to_bytes();
            assert_eq!(rest.len(), usize::from(last));
            assert_eq!([first, rest].concat(), sent);
            assert_eq!(Arc::strong_count(&place), 1);
        }
    }
}
