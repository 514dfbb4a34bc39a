//! Stands between a sender and an emulator, TLS on both sides, and changes one
//! thing about each request that passes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request on its way.
pub(crate) struct Passing {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What is done to each request.
pub(crate) type Change = Arc<dyn Fn(&mut Passing) + Send + Sync>;

/// What the emulator answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) body: Value,
}

pub(crate) struct Interceptor {
    pub(crate) url: String,
    pub(crate) root_ca_file: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    change: Mutex<Change>,
    answers: Mutex<Vec<Answered>>,
}

impl Interceptor {
    /// In front of `upstream`, whose root certificate is in `root`. Over one
    /// connection, as long as that lives. Changes nothing yet.
    pub(crate) async fn start(upstream: &str, root: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root_ca_file = dir.path().join("root-ca.pem");
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(&root_ca_file, own.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec()];

        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(root).unwrap())
            .unwrap();
        let mut client = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client)
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()
            .unwrap();

        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client,
            change: Mutex::new(Arc::new(|_| {})),
            answers: Mutex::default(),
        });
        let task = tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(server)),
            Arc::clone(&shared),
        ));
        Self {
            url,
            root_ca_file,
            shared,
            task,
            _dir: dir,
        }
    }

    pub(crate) fn change(&self, change: Change) {
        *self.shared.change.lock() = change;
    }

    /// The answers since the last call.
    pub(crate) fn answers(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.shared.answers.lock())
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let tls = acceptor.accept(tcp).await.unwrap();
            let service = service_fn(move |request| pass(Arc::clone(&shared), request));
            // Ends with an error when the sender hangs up.
            drop(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tls), service)
                    .await,
            );
        });
    }
}

async fn pass(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let mut passing = Passing {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: body.collect().await?.to_bytes().to_vec(),
    };
    passing.headers.remove(http::header::CONTENT_LENGTH);
    let change = Arc::clone(&*shared.change.lock());
    change(&mut passing);
    let path = passing.path.clone();
    let answer = shared
        .client
        .request(passing.method, format!("{}{path}", shared.upstream))
        .headers(passing.headers)
        .body(passing.body)
        .send()
        .await?;
    let status = answer.status();
    let headers = answer.headers().clone();
    let body = answer.bytes().await?;
    shared.answers.lock().push(Answered {
        path,
        status: status.as_u16(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// A JWT taken apart: header and claims.
pub(crate) fn parts_of(jwt: &str) -> (Value, Value) {
    let mut parts = jwt.split('.').map(|part| BASE64URL.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

/// A JWT put together, whatever stands in it.
pub(crate) fn jwt(
    header: &Value,
    claims: &Value,
    algorithm: Algorithm,
    key: &EncodingKey,
) -> String {
    let encode = |value: &Value| BASE64URL.encode(value.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), key, algorithm).unwrap();
    format!("{input}.{signature}")
}
