//! HTTP/1.1 or HTTP/2 on one connection, and the faults of its answers.

use std::future::Future;
use std::io;

use axum::extract::FromRequest;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

/// Most of a body that is read.
pub(crate) const READ_LIMIT: usize = 64 * 1024;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request's handler may do to its connection.
pub(crate) enum Command {
    /// GOAWAY, or `connection: close`.
    Goodbye,
    /// Closed without a word.
    Cut,
}

/// Makes hyper reset the stream (HTTP/2) or close the connection (HTTP/1.1).
#[derive(Debug, thiserror::Error)]
#[error("reset by a fault")]
pub(crate) struct Reset;

pub(crate) async fn serve<F, Fut>(tls: TlsStream<TcpStream>, handler: F)
where
    F: Fn(Request<Incoming>, mpsc::UnboundedSender<Command>) -> Fut,
    Fut: Future<Output = Result<Response<Body>, Reset>> + Send + 'static,
{
    let (commands, mut inbox) = mpsc::unbounded_channel();
    let handler = service_fn(move |request| handler(request, commands.clone()));
    let builder = auto::Builder::new(TokioExecutor::new());
    let http = builder.serve_connection(TokioIo::new(tls), handler);
    tokio::pin!(http);
    loop {
        tokio::select! {
            Some(command) = inbox.recv() => match command {
                Command::Goodbye => http.as_mut().graceful_shutdown(),
                Command::Cut => return,
            },
            // A connection that ends badly is the client's affair, or a fault's.
            _ = http.as_mut() => return,
        }
    }
}

/// The fields of a form in a body.
pub(crate) async fn form(
    parts: &http::request::Parts,
    body: Bytes,
) -> Result<Vec<(String, String)>, ()> {
    let mut request = Request::new(axum::body::Body::from(body));
    parts.method.clone_into(request.method_mut());
    parts.headers.clone_into(request.headers_mut());
    axum::Form::from_request(request, &())
        .await
        .map(|axum::Form(form)| form)
        .map_err(|_| ())
}

/// An answer in JSON; a stalled one stops half-way and never goes on.
pub(crate) fn response(status: StatusCode, text: &str, stalled: bool) -> Response<Body> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let body = if stalled {
        let half = bytes.slice(..bytes.len() / 2);
        let first = stream::once(async move { Ok(Frame::data(half)) });
        StreamBody::new(first.chain(stream::pending())).boxed_unsync()
    } else {
        http_body_util::Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Headers for the record: no secret among them.
pub(crate) fn recorded(headers: &HeaderMap) -> std::collections::BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

/// Where credentials stand.
const SECRET_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "apikey"];
