//! Plain HTTP/1.1 requests, for the broker's JWKS and the emulators' control
//! page.

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Longest answer that is read whole.
const LONGEST_ANSWER: usize = 1 << 20;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No `http://` address.
    #[error("{0:?} is not a plain http address")]
    BadAddress(String),
    /// No connection, or it broke.
    #[error("{address}: {cause}")]
    Failed {
        /// What was asked.
        address: String,
        /// Why, with causes.
        cause: String,
    },
    /// The answer was not a success.
    #[error("{address}: {status}: {body}")]
    Refused {
        /// What was asked.
        address: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("{address}: the answer cannot be read: {cause}")]
    Malformed {
        /// What was asked.
        address: String,
        /// Why.
        cause: String,
    },
}

/// `GET`s a text.
///
/// # Errors
/// [`FetchError`].
pub async fn get_text(address: &str) -> Result<String, FetchError> {
    let body = send(Method::GET, address, None).await?;
    read(address, body).await
}

/// `POST`s JSON and reads JSON.
///
/// # Errors
/// [`FetchError`].
pub async fn post_json(
    address: &str,
    message: &serde_json::Value,
) -> Result<serde_json::Value, FetchError> {
    let body = send(Method::POST, address, Some(message)).await?;
    let text = read(address, body).await?;
    serde_json::from_str(&text).map_err(|error| FetchError::Malformed {
        address: address.to_owned(),
        cause: error.to_string(),
    })
}

/// `GET`s lines without end.
///
/// # Errors
/// [`FetchError`].
pub async fn get_lines(address: &str) -> Result<Lines, FetchError> {
    Ok(Lines {
        address: address.to_owned(),
        body: send(Method::GET, address, None).await?,
        read: Vec::new(),
    })
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct Lines {
    address: String,
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// The next line without its end; `None` when the answer has ended.
    ///
    /// # Errors
    /// [`FetchError::Failed`] when the connection broke,
    /// [`FetchError::Malformed`] when a line has no end.
    pub async fn next(&mut self) -> Result<Option<String>, FetchError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.read.len() > LONGEST_ANSWER {
                return Err(FetchError::Malformed {
                    address: self.address.clone(),
                    cause: "a line without end".to_owned(),
                });
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| failed(&self.address, &error))?;
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

async fn send(
    method: Method,
    address: &str,
    message: Option<&serde_json::Value>,
) -> Result<Incoming, FetchError> {
    let bad = || FetchError::BadAddress(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| bad())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(bad());
    }
    let mut request = Request::builder().method(method).uri(uri);
    if message.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = message.map(ToString::to_string).unwrap_or_default();
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(address, &error))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .request(request)
        .await
        .map_err(|error| failed(address, &error))?;
    let status = response.status();
    let body = response.into_body();
    if status.is_success() {
        return Ok(body);
    }
    let body = read(address, body).await.unwrap_or_default();
    Err(FetchError::Refused {
        address: address.to_owned(),
        status,
        body: body.chars().take(200).collect(),
    })
}

async fn read(address: &str, body: Incoming) -> Result<String, FetchError> {
    let bytes = Limited::new(body, LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| failed(address, error.as_ref()))?
        .to_bytes();
    String::from_utf8(bytes.into()).map_err(|error| FetchError::Malformed {
        address: address.to_owned(),
        cause: error.to_string(),
    })
}

fn failed(address: &str, error: &(dyn std::error::Error + 'static)) -> FetchError {
    FetchError::Failed {
        address: address.to_owned(),
        cause: crate::phone::with_causes(error),
    }
}
