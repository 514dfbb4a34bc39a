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
mod ticket;
mod unfinished;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tonic::body::Body;
use tonic_types::StatusExt as _;
use tower_layer::Layer;
use tower_service::Service;

use super::{Limits, auth, kept::keep};
use crate::{broker::Broker, metrics::Metrics};
pub(in crate::api) use account::Holder;
use account::{Account, Known};
use class::{Class, class, from_phone};
use controller::{Cause, Controller, Notice, Settings, Turn, Verdict};
use refusal::{Refusal, Refused};
use ticket::Places;
pub(crate) use ticket::Ticket;
use unfinished::Unfinished;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

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
    places: Places,
    unfinished: Arc<Unfinished>,
    /// When the operator was last told of a caller who has too many places.
    told_us: AtomicU64,
    limits: Limits,
}

/// And when again, at the earliest.
const TELL_AGAIN_US: u64 = 60_000_000;

impl Admission {
    pub(super) fn new(broker: &Arc<Broker>, limits: Limits) -> Self {
        let target = u64::try_from(limits.queue_delay.as_micros());
        let places = Places::new(limits.max_calls);
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
            unfinished: Unfinished::new(places.unfinished()),
            places,
            told_us: AtomicU64::new(0),
            limits,
        }))
    }
}

impl Shared {
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

    /// Waits for a turn that is not at once.
    async fn wait(&self, turn: Turn) {
        let began = self.broker.monotonic_us();
        to_the_end_of_the_queue().await;
        let mut now = self.broker.monotonic_us();
        let mut delay = now.saturating_sub(began);
        self.metrics.admission.waited(Duration::from_micros(delay));
        self.controller.lock().waited(delay);
        while turn == Turn::Last && self.again(delay, now.saturating_sub(began)) {
            to_the_end_of_the_queue().await;
            let since = std::mem::replace(&mut now, self.broker.monotonic_us());
            delay = now.saturating_sub(since);
        }
    }

    fn again(&self, delay_us: u64, all_us: u64) -> bool {
        self.controller.lock().again(delay_us, all_us)
    }

    /// A place, and a word to the operator where somebody has too many.
    fn take_place(&self, holder: Option<Holder>) -> Result<(), Cause> {
        let taken = self.places.take(holder);
        if let (Err(Cause::OverShare), Some(holder)) = (taken, holder) {
            let now = self.broker.monotonic_us();
            let last = self.told_us.load(Relaxed);
            if (last == 0 || now.saturating_sub(last) > TELL_AGAIN_US)
                && self
                    .told_us
                    .compare_exchange(last, now.max(1), Relaxed, Relaxed)
                    .is_ok()
            {
                tracing::warn!(
                    ?holder,
                    "a caller has so many calls and streams open that it gets no more"
                );
            }
        }
        taken
    }

    /// New work of this account has ended.
    fn leave(&self, account: Account) {
        let mut controller = self.controller.lock();
        controller.leave(account);
        let (limit, in_flight) = (controller.limit(), controller.in_flight());
        drop(controller);
        self.metrics.admission.limits(limit, in_flight);
    }

    fn refusal(&self, cause: Cause) -> &Refusal {
        match cause {
            Cause::Overloaded => {
                self.metrics.admission.overloaded();
                &self.overloaded
            }
            Cause::OverShare => {
                self.metrics.admission.over_share();
                &self.over_share
            }
        }
    }

    fn refuse(&self, request: Request, cause: Cause) -> Refused {
        let longest = self.limits.max_message_bytes;
        let body = request.into_body();
        Refused::new(self.refusal(cause), body, longest, &self.unfinished)
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
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
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
        let path = request.uri().path();
        let (class, phone) = (class(path), from_phone(path));
        if class == Class::Open {
            return Admitted::Open(self.inner.call(request));
        }
        // Where no key is checked, one that was good once, and is no longer, would
        // never be found out.
        let fingerprint = if auth::takes_key(path) {
            shared.known.fingerprint(request.headers())
        } else {
            None
        };
        let known = fingerprint.and_then(|credential| shared.known.holder(credential));
        let mut ticket = match Ticket::take(shared, fingerprint, known) {
            Ok(ticket) => ticket,
            Err(cause) => return Admitted::Refused(shared.refuse(request, cause)),
        };
        if class == Class::Finishing {
            request.extensions_mut().insert(ticket.clone());
            shared.metrics.admission.admitted_finishing();
            let call = self.inner.call(request);
            return Admitted::Finishing(call, Some(ticket));
        }
        let end = end(shared, request.headers());
        if phone && known.is_none() {
            let clone = self.inner.clone();
            let inner = std::mem::replace(&mut self.inner, clone);
            request.extensions_mut().insert(ticket.clone());
            return Admitted::New(Box::pin(read_first(inner, request, ticket, end)));
        }
        let turn = match shared.arrive(ticket.account()) {
            Verdict::Admitted(turn) => turn,
            Verdict::Refused(cause) => {
                return Admitted::Refused(shared.refuse(request, cause));
            }
        };
        shared.metrics.admission.admitted_new();
        ticket.works();
        request.extensions_mut().insert(ticket.clone());
        let call = self.inner.call(request);
        Admitted::New(Box::pin(async move {
            let response = serve(ticket.shared(), call, turn, end).await;
            keep(response, ticket.answered())
        }))
    }
}

/// New work of a phone, which is a stranger: were it counted before its message
/// has come, messages that don't end could keep all other strangers out.
async fn read_first<S>(
    mut inner: S,
    request: Request,
    mut ticket: Ticket,
    end: Option<u64>,
) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Unpin,
{
    let shared = ticket.shared();
    let mut request = match auth::whole(request, &shared.limits).await {
        Ok((request, _)) => request,
        Err(status) => {
            let details = status.get_error_details();
            let info = details.error_info();
            shared
                .metrics
                .refused(info.map_or("UNKNOWN", |info| info.reason.as_str()));
            return status.into_http();
        }
    };
    let turn = match shared.arrive(ticket.account()) {
        Verdict::Admitted(turn) => turn,
        Verdict::Refused(cause) => return shared.refusal(cause).answer(),
    };
    shared.metrics.admission.admitted_new();
    ticket.works();
    request.extensions_mut().insert(ticket.clone());
    let call = inner.call(request);
    let response = serve(ticket.shared(), call, turn, end).await;
    keep(response, ticket.answered())
}

/// What a call holds, for a step that may go on without its caller.
pub(super) fn ticket<T>(request: &tonic::Request<T>) -> Option<Ticket> {
    request.extensions().get().cloned()
}

/// When the caller's patience ends.
fn end(shared: &Shared, headers: &http::HeaderMap) -> Option<u64> {
    let deadline = auth::deadline(headers)?;
    let deadline = u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX);
    Some(shared.broker.monotonic_us().saturating_add(deadline))
}

/// New work, behind what waits already, and not past its deadline: what nobody
/// waits for any more is not begun, and given up wherever it stands.
async fn serve(
    shared: &Shared,
    call: impl Future<Output = Result<Response, Infallible>> + Unpin,
    turn: Turn,
    end: Option<u64>,
) -> Response {
    let mut call = call;
    if turn != Turn::Now {
        shared.wait(turn).await;
    }
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

/// How a call goes on.
pub(crate) enum Admitted<F> {
    /// Untouched.
    Open(F),
    /// Let in at once.
    Finishing(F, Option<Ticket>),
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
            Self::Finishing(call, ticket) => {
                let response = std::task::ready!(Pin::new(call).poll(cx))?;
                Poll::Ready(Ok(match ticket.take() {
                    Some(ticket) => keep(response, ticket.answered()),
                    None => response,
                }))
            }
            Self::New(call) => call.as_mut().poll(cx).map(Ok),
            Self::Refused(refused) => Pin::new(refused).poll(cx).map(Ok),
        }
    }
}
