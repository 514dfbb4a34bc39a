//! Delivery receipts over HTTP: requests to an address that came with the message.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Longest wait for an answer; Twilio's is 15 seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most of an answer that is read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why callbacks can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallbackError {
    #[error("{0}")]
    Certificate(#[from] rustls_pki_types::pem::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Makes callbacks over HTTP, or HTTPS under the given roots.
#[derive(Clone)]
pub(super) struct Callbacks {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Callbacks {
    pub(super) fn new(roots: &[&Path]) -> Result<Self, CallbackError> {
        let mut store = rustls::RootCertStore::empty();
        for file in roots {
            for certificate in CertificateDer::pem_file_iter(file)? {
                store.add(certificate?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        // A connection of its own for each: whether one broke is then never in doubt.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { client })
    }

    /// Makes a request, once more if there was no connection. Answers what is to be written down:
    /// the status, or why there was none.
    pub(super) async fn call(&self, request: Request<Full<Bytes>>) -> String {
        match self.once(request.clone()).await {
            Err(failed) if failed.connect => {
                let again = self.once(request).await;
                again.unwrap_or_else(|failed| failed.cause)
            }
            Err(failed) => failed.cause,
            Ok(answer) => answer,
        }
    }

    async fn once(&self, request: Request<Full<Bytes>>) -> Result<String, Failed> {
        let call = async {
            let response = self.client.request(request).await.map_err(|error| Failed {
                connect: error.is_connect(),
                cause: if error.is_connect() {
                    "no connection".to_owned()
                } else {
                    "connection lost".to_owned()
                },
            })?;
            let status = response.status();
            // The body means nothing; read, so that the other side sees an orderly end.
            drop(
                Limited::new(response.into_body(), ANSWER_LIMIT)
                    .collect()
                    .await,
            );
            Ok(status.as_str().to_owned())
        };
        tokio::time::timeout(PATIENCE, call)
            .await
            .unwrap_or_else(|_| {
                Err(Failed {
                    connect: false,
                    cause: "no answer".to_owned(),
                })
            })
    }
}

struct Failed {
    connect: bool,
    cause: String,
}

/// An address that a callback may go to.
pub(super) fn is_callback_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri
                .host()
                .is_some_and(|host| !host.is_empty() && !host.contains('_'))
    })
}
