//! Calls byte by byte: what a generated client would never send.

use std::{convert::Infallible, net::SocketAddr};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};

use crate::in_time;

/// One message as gRPC frames it: flag, length, bytes.
pub fn frame(message: &[u8]) -> Vec<u8> {
    framed(0, u32::try_from(message.len()).unwrap(), message)
}

/// A frame that may lie about itself.
pub fn framed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// What came back of a call.
#[derive(Debug)]
pub enum Answer {
    /// The first message; a stream's rest is not read.
    Message(Bytes),
    /// The status, `OK` for a stream without a message.
    Ended(Status),
}

impl Answer {
    #[track_caller]
    pub fn refused(self) -> Status {
        match self {
            Self::Ended(status) if status.code() != Code::Ok => status,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[track_caller]
    pub fn message(self) -> Bytes {
        match self {
            Self::Message(bytes) => bytes,
            Self::Ended(status) => panic!("refused: {status:?}"),
        }
    }
}

/// A connection that sends whatever it is told.
#[derive(Clone)]
pub struct Wire {
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
}

/// Headers in the order given, repeated ones repeated.
pub type Headers = Vec<(&'static str, HeaderValue)>;

pub fn header(name: &'static str, value: impl AsRef<[u8]>) -> (&'static str, HeaderValue) {
    (name, HeaderValue::from_bytes(value.as_ref()).unwrap())
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, &Builder::new(TokioExecutor::new())).await
    }

    /// One that takes no byte of an answer but its headers.
    pub async fn connect_deaf(address: SocketAddr) -> Self {
        let mut deaf = Builder::new(TokioExecutor::new());
        deaf.initial_stream_window_size(0);
        Self::connect_as(address, &deaf).await
    }

    async fn connect_as(address: SocketAddr, builder: &Builder<TokioExecutor>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Calls with `body` as it is, frame and all.
    pub async fn call(&self, path: &str, headers: &Headers, body: Vec<u8>) -> Answer {
        let body = Full::new(Bytes::from(body)).boxed();
        self.send(path, headers, body).await
    }

    /// Calls with a body that starts with `start` and never ends.
    pub async fn stall(&self, path: &str, headers: &Headers, start: Vec<u8>) -> Answer {
        let start = Ok(Frame::data(Bytes::from(start)));
        let endless = futures_util::stream::iter([start]).chain(futures_util::stream::pending());
        let body = http_body_util::BodyExt::boxed(StreamBody::new(endless));
        self.send(path, headers, body).await
    }

    /// Calls with a body that comes in parts, and ends when `parts` does.
    pub async fn in_parts(
        &self,
        path: &str,
        headers: &Headers,
        parts: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    ) -> Answer {
        let parts = tokio_stream::wrappers::UnboundedReceiverStream::new(parts)
            .map(|part| Ok(Frame::data(Bytes::from(part))));
        let body = http_body_util::BodyExt::boxed(StreamBody::new(parts));
        self.send(path, headers, body).await
    }

    async fn send(
        &self,
        path: &str,
        headers: &Headers,
        body: BoxBody<Bytes, Infallible>,
    ) -> Answer {
        in_time(self.exchange(path, headers, body)).await
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &Headers,
        body: BoxBody<Bytes, Infallible>,
    ) -> Answer {
        let mut request = Request::post(format!("http://broker{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            request.headers_mut().append(name, value.clone());
        }
        let mut sender = self.sender.clone();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Answer::Ended(status);
        }
        let mut body = response.into_body();
        let mut data = BytesMut::new();
        while let Some(part) = body.frame().await {
            let part = part.unwrap();
            if let Some(bytes) = part.data_ref() {
                data.extend_from_slice(bytes);
                if let Some(message) = first_message(&data) {
                    return Answer::Message(message);
                }
            }
            if let Some(trailers) = part.trailers_ref() {
                return Answer::Ended(Status::from_header_map(trailers).unwrap());
            }
        }
        panic!("{path}: an answer without a status: {data:?}");
    }
}

fn first_message(data: &[u8]) -> Option<Bytes> {
    let mut header = data.get(1..5)?;
    let length = usize::try_from(header.get_u32()).unwrap();
    data.get(5..5 + length).map(Bytes::copy_from_slice)
}

/// Writes `bytes` to a fresh connection, closes our half, reads to the end.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    talk(address, bytes, true).await
}

/// Writes a request that asks for the connection to be closed, reads to the end.
pub async fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    talk(address, bytes, false).await
}

async fn talk(address: SocketAddr, bytes: &[u8], hang_up: bool) -> Vec<u8> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut from, mut to) = stream.split();
        // The other side may hang up before it has read everything.
        let write = async {
            drop(to.write_all(bytes).await);
            if hang_up {
                drop(to.shutdown().await);
            }
        };
        let read = async {
            let mut answer = Vec::new();
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut part).await {
                answer.extend_from_slice(&part[..length]);
            }
            answer
        };
        tokio::join!(write, read).1
    };
    in_time(talk).await
}

/// Splits an HTTP/1.1 answer: status code, head, body.
pub fn http1(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let split = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP answer: {:?}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head, answer[split + 4..].to_vec())
}

/// An API key as metadata.
pub fn bearer(key: &str) -> Headers {
    vec![header("authorization", format!("Bearer {key}"))]
}
