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
    #[error("{0} is not a plain http address")]
    BadAddress(String),
    /// No connection, or it broke.
    #[error("{address}: {cause}")]
    Failed {
        /// Who was asked: scheme, host and port. A path may hold a device token.
        address: String,
        /// Why, in words.
        cause: String,
    },
    /// The answer was not a success.
    #[error("{address} answered {status}{}", if body.is_empty() { String::new() } else { format!(": {body}") })]
    Refused {
        /// Who was asked: scheme, host and port. A path may hold a device token.
        address: String,
        /// The status.
        status: StatusCode,
        /// What the answer says about it, if anything.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("{address}: the answer cannot be read: {cause}")]
    Malformed {
        /// Who was asked: scheme, host and port. A path may hold a device token.
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
    serde_json::from_str(&text).map_err(|_| FetchError::malformed(address, "it is not JSON"))
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
                return Err(FetchError::malformed(&self.address, "a line without end"));
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
    let bad = || FetchError::BadAddress(shown(address));
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
        address: shown(address),
        status,
        body: said(&body),
    })
}

async fn read(address: &str, body: Incoming) -> Result<String, FetchError> {
    let bytes = Limited::new(body, LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| failed(address, error.as_ref()))?
        .to_bytes();
    String::from_utf8(bytes.into()).map_err(|_| FetchError::malformed(address, "it is not text"))
}

fn failed(address: &str, error: &(dyn std::error::Error + 'static)) -> FetchError {
    FetchError::Failed {
        address: shown(address),
        cause: crate::phone::in_words(error).to_owned(),
    }
}

impl FetchError {
    pub(crate) fn malformed(address: &str, cause: &str) -> Self {
        Self::Malformed {
            address: shown(address),
            cause: cause.to_owned(),
        }
    }
}

/// Scheme, host and port of an address.
fn shown(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            format!("{scheme}://{authority}")
        }
        None => address.split('/').next().unwrap_or_default().to_owned(),
    }
}

/// The `error` of an answer in JSON.
fn said(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let error = body.get("error").and_then(serde_json::Value::as_str);
    error.unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn errors_name_the_server_and_no_path() {
        // Nobody listens on a port that was just given back.
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", tcp.local_addr().unwrap());
        drop(tcp);
        let address = format!("{server}/devices/SECRET/pushes");
        let error = get_text(&address).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{server}: connection refused"));
        for wrong in [
            "https://h/devices/SECRET",
            "h/devices/SECRET",
            "http:///SECRET",
        ] {
            let error = get_text(wrong).await.unwrap_err();
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }
}
