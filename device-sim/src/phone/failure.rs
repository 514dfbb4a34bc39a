//! Why a connection failed, in words for the phone's owner. What libraries say is for programmers,
//! and may hold an address that is a secret.

use std::error::Error;
use std::io::{self, ErrorKind};

/// The cause in a few words.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> &'static str {
    let mut words = None;
    let mut next = Some(error);
    while let Some(error) = next {
        // The innermost one knows best.
        words = of(error).or(words);
        next = error.source();
    }
    words.unwrap_or(BROKE)
}

const BROKE: &str = "the connection broke";
const LATE: &str = "no answer in time";

fn of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // What an I/O error wraps is not among its sources.
        let inner = error.get_ref().and_then(|inner| of(inner));
        return inner.or_else(|| io(error));
    }
    if error.is::<tonic::TimeoutExpired>() {
        return Some(LATE);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>()
        && error.is_timeout()
    {
        return Some(LATE);
    }
    None
}

fn io(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Some("connection refused"),
        ErrorKind::TimedOut => Some(LATE),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            Some("the network cannot be reached")
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(BROKE),
        // The standard library has no kind for a name that does not resolve.
        _ if error.to_string().contains("lookup address") => Some("unknown host name"),
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "its certificate is not to be trusted",
        _ => "no secure connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("h2 protocol error: /devices/SECRET/pushes")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_innermost_cause_in_words() {
        let words = |error: io::Error| in_words(&Outer(error));
        assert_eq!(
            words(ErrorKind::ConnectionRefused.into()),
            "connection refused"
        );
        assert_eq!(words(ErrorKind::Other.into()), BROKE);
        let unknown_issuer =
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(ErrorKind::InvalidData, unknown_issuer);
        assert_eq!(words(wrapped), "its certificate is not to be trusted");
        let dns = io::Error::other("failed to lookup address information: Name unknown");
        assert_eq!(words(dns), "unknown host name");
    }
}
