//! What the broker lets in when more comes than it can do.
//!
//! New work is let in within limits that follow the delay of the run queue
//! (`controller.rs`); what was let in is finished. A refusal is decided before
//! authentication and without reading the message, and is made beforehand.

mod account;
mod class;
mod controller;
#[cfg(test)]
mod controller_tests;
mod refusal;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::{Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use super::{Limits, auth};
use crate::{
    broker::{Broker, IdpCaller, administer::AdminCaller},
    metrics::Metrics,
};
use account::{Account, Fingerprint, Known};
use class::{Class, class, streams};
use controller::{Cause, Controller, Notice, Settings, Verdict};
use refusal::Refusal;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// How long the rest of a refused call's message is waited for. It has mostly
/// come with the beginning. Answers given before the end make the library
/// reset the stream, and a peer that goes on sending on many such streams
/// loses its connection (h2 allows 1024).
const PATIENCE: Duration = Duration::from_secs(1);

/// Decides what is let in. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Shared>);

struct Shared {
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
    controller: Mutex<Controller<Account>>,
    known: Known,
    overloaded: Refusal,
    over_share: Refusal,
    /// Calls and streams open, of all classes but [`Class::Open`].
    calls: AtomicUsize,
    max_calls: usize,
    max_message_bytes: usize,
}

impl Admission {
    pub(super) fn new(broker: &Arc<Broker>, limits: Limits) -> Self {
        let target = u64::try_from(limits.queue_delay.as_micros());
        Self(Arc::new(Shared {
            broker: broker.clone(),
            metrics: broker.metrics.clone(),
            controller: Mutex::new(Controller::new(Settings {
                max_new_calls: limits.max_new_calls,
                target_us: target.unwrap_or(u64::MAX),
            })),
            known: Known::default(),
            overloaded: Refusal::new("OVERLOADED", "the broker has too much to do"),
            over_share: Refusal::new(
                "TENANT_OVER_SHARE",
                "the broker has too much to do, most of it for this caller",
            ),
            calls: AtomicUsize::new(0),
            max_calls: limits.max_calls,
            max_message_bytes: limits.max_message_bytes,
        }))
    }

    /// The part behind authentication: learns which credentials were good.
    pub(super) fn learn(&self) -> Learn {
        Learn(self.clone())
    }
}

/// A place among all calls; given back when dropped.
pub(crate) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

/// New work in flight; ends when dropped.
struct InFlight {
    shared: Arc<Shared>,
    account: Account,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut controller = self.shared.controller.lock();
        controller.leave(self.account);
        let (limit, in_flight) = (controller.limit(), controller.in_flight());
        drop(controller);
        self.shared.metrics.admission.limits(limit, in_flight);
    }
}

impl Shared {
    fn place(self: &Arc<Self>) -> Option<Place> {
        if self.calls.fetch_add(1, Relaxed) < self.max_calls {
            return Some(Place(self.clone()));
        }
        self.calls.fetch_sub(1, Relaxed);
        None
    }

    fn arrive(&self, account: Account) -> Verdict {
        let now = self.broker.monotonic_us();
        let (verdict, notice, limit, in_flight) = {
            let mut controller = self.controller.lock();
            let verdict = controller.arrive(account, now);
            let notice = controller.take_notice();
            (verdict, notice, controller.limit(), controller.in_flight())
        };
        self.metrics.admission.limits(limit, in_flight);
        match notice {
            None => {}
            Some(Notice::Began) => {
                tracing::warn!(
                    limit,
                    in_flight,
                    "too much to do: new work is being refused"
                );
            }
            Some(Notice::Ended { refused }) => {
                tracing::info!(refused, "new work is no longer being refused");
            }
        }
        verdict
    }

    fn waited(&self, since_us: u64) {
        let delay = self.broker.monotonic_us().saturating_sub(since_us);
        self.controller.lock().waited(delay);
        self.metrics.admission.waited(Duration::from_micros(delay));
    }

    fn refuse(&self, request: Request, cause: Cause) -> Refused {
        let refusal = match cause {
            Cause::Overloaded => {
                self.metrics.admission.overloaded();
                &self.overloaded
            }
            Cause::OverShare => {
                self.metrics.admission.over_share();
                &self.over_share
            }
        };
        Refused {
            body: request.into_body(),
            left: self.max_message_bytes.saturating_add(1024),
            answer: Some(refusal.answer()),
            patience: None,
        }
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitting {
            inner,
            admission: self.clone(),
        }
    }
}

/// A service that does not take everything.
#[derive(Clone)]
pub(crate) struct Admitting<S> {
    inner: S,
    admission: Admission,
}

impl<S> Service<Request> for Admitting<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + Unpin + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Admitted<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let shared = &self.admission.0;
        let class = class(request.uri().path());
        if class == Class::Open {
            return Admitted::Open(self.inner.call(request));
        }
        let Some(place) = shared.place() else {
            return Admitted::Refused(shared.refuse(request, Cause::Overloaded));
        };
        let held = streams(request.uri().path());
        if class == Class::Finishing {
            shared.metrics.admission.admitted_finishing();
            let call = self.inner.call(request);
            return Admitted::Finishing(call, held, Some(place));
        }
        let fingerprint = shared.known.fingerprint(request.headers());
        let known = fingerprint.and_then(|credential| shared.known.account(credential));
        let account = known.unwrap_or(Account::Strangers);
        let behind = match shared.arrive(account) {
            Verdict::Admitted { behind } => behind,
            Verdict::Refused(cause) => {
                return Admitted::Refused(shared.refuse(request, cause));
            }
        };
        shared.metrics.admission.admitted_new();
        let in_flight = InFlight {
            shared: shared.clone(),
            account,
        };
        let deadline = auth::deadline(request.headers());
        if let (None, Some(fingerprint)) = (known, fingerprint) {
            request.extensions_mut().insert(fingerprint);
        }
        let known = known.and(fingerprint);
        let call = self.inner.call(request);
        Admitted::New(Box::pin(async move {
            let shared = &in_flight.shared;
            let response = serve(shared, call, behind, deadline).await;
            if let Some(fingerprint) = known
                && is_unauthenticated(&response)
            {
                shared.known.forget(fingerprint);
            }
            if held {
                hold(response, place)
            } else {
                response
            }
        }))
    }
}

/// New work, behind what waits already, and not past its deadline: what nobody
/// waits for any more is not begun, and given up wherever it stands.
async fn serve(
    shared: &Shared,
    call: impl Future<Output = Result<Response, Infallible>> + Unpin,
    behind: bool,
    deadline: Option<Duration>,
) -> Response {
    let mut call = call;
    let since = shared.broker.monotonic_us();
    if behind {
        to_the_end_of_the_queue().await;
        shared.waited(since);
    }
    let end = deadline.map(|deadline| {
        let deadline = u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX);
        since.saturating_add(deadline)
    });
    poll_fn(|cx| match end {
        Some(end) if shared.broker.monotonic_us() >= end => {
            shared.metrics.refused("TIMED_OUT");
            Poll::Ready(auth::too_long().into_http())
        }
        _ => Pin::new(&mut call)
            .poll(cx)
            .map(|result| result.unwrap_or_else(|never| match never {})),
    })
    .await
}

/// A task that wakes itself is put behind all that wait on its worker.
async fn to_the_end_of_the_queue() {
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

/// `UNAUTHENTICATED` is 16 (gRPC status codes).
fn is_unauthenticated(response: &Response) -> bool {
    let status = response.headers().get("grpc-status");
    status.is_some_and(|code| code == "16")
}

/// How a call goes on.
pub(crate) enum Admitted<F> {
    /// Untouched.
    Open(F),
    /// Let in at once; whether its place is kept until its answer has ended.
    Finishing(F, bool, Option<Place>),
    /// Let in within limits.
    New(Pin<Box<dyn Future<Output = Response> + Send>>),
    /// Not let in.
    Refused(Refused),
}

impl<F> Future for Admitted<F>
where
    F: Future<Output = Result<Response, Infallible>> + Unpin,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Open(call) => Pin::new(call).poll(cx),
            Self::Finishing(call, held, place) => {
                let response = std::task::ready!(Pin::new(call).poll(cx))?;
                let place = place.take();
                Poll::Ready(Ok(match place {
                    Some(place) if *held => hold(response, place),
                    _ => response,
                }))
            }
            Self::New(call) => call.as_mut().poll(cx).map(Ok),
            Self::Refused(refused) => Pin::new(refused).poll(cx).map(Ok),
        }
    }
}

/// A refusal on its way: what has come of the message is thrown away first.
pub(crate) struct Refused {
    body: Body,
    left: usize,
    answer: Option<Response>,
    patience: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Future for Refused {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        while !self.body.is_end_stream() && self.left > 0 {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                    self.left = self.left.saturating_sub(bytes.max(1));
                }
                Poll::Ready(None | Some(Err(_))) => break,
                Poll::Pending => {
                    let patience = self
                        .patience
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
                    std::task::ready!(patience.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(self.answer.take().unwrap_or_default())
    }
}

/// An answer that keeps its place until it has ended.
struct Held {
    inner: Body,
    _place: Place,
}

fn hold(response: Response, place: Place) -> Response {
    response.map(|inner| {
        Body::new(Held {
            inner,
            _place: place,
        })
    })
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Stands behind authentication.
#[derive(Clone)]
pub(crate) struct Learn(Admission);

impl<S> Layer<S> for Learn {
    type Service = Learning<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Learning {
            inner,
            admission: self.0.clone(),
        }
    }
}

/// A service that notes whose credentials were good.
#[derive(Clone)]
pub(crate) struct Learning<S> {
    inner: S,
    admission: Admission,
}

impl<S: Service<Request>> Service<Request> for Learning<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let extensions = request.extensions();
        if let Some(fingerprint) = extensions.get::<Fingerprint>() {
            let account = match (extensions.get(), extensions.get()) {
                (Some(IdpCaller { tenant, .. }), _)
                | (
                    _,
                    Some(AdminCaller {
                        scope: Some(tenant),
                        ..
                    }),
                ) => Some(Account::Tenant(*tenant)),
                (_, Some(AdminCaller { scope: None, .. })) => Some(Account::Installation),
                (None, None) => None,
            };
            if let Some(account) = account {
                self.admission.0.known.learn(*fingerprint, account);
            }
        }
        self.inner.call(request)
    }
}
