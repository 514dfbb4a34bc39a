//! Raw clients and signers, none of them the broker's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use device_sim::gateway::{
    Environment, GatewayClock, Gateways, GatewaysConfig, Registration, Vendor,
};
use h2::client::SendRequest;
use http::{Request, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const TOPIC: &str = "be.example.countersign";
pub(crate) const TEAM: &str = "EXAMPLETM1";
pub(crate) const KEY: &str = "EXAMPLEKY1";
pub(crate) const PROJECT: &str = "countersign-example";

/// A clock turned by hand.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000)))
    }

    pub(crate) fn now_s(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn turn(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> GatewayClock {
        let hand = self.clone();
        GatewayClock::from_fn(move || -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(hand.now_s())
        })
    }
}

/// Gateways on a clock turned by hand.
pub(crate) async fn gateways(change: impl FnOnce(&mut GatewaysConfig)) -> (Gateways, Hand) {
    let hand = Hand::new();
    let mut config = GatewaysConfig {
        clock: hand.clock(),
        seed: Some(1),
        ..Default::default()
    };
    change(&mut config);
    (Gateways::start(config).await.unwrap(), hand)
}

pub(crate) fn registration(gateway: Vendor, app_id: &str) -> Registration {
    Registration {
        gateway,
        app_id: app_id.to_owned(),
        environment: Environment::Production,
    }
}

pub(crate) fn iphone(gateways: &Gateways) -> String {
    gateways
        .issue_token(&registration(Vendor::Apns, TOPIC))
        .unwrap()
}

pub(crate) fn android(gateways: &Gateways) -> String {
    gateways
        .issue_token(&registration(Vendor::Fcm, PROJECT))
        .unwrap()
}

/// A provider token by the team's key.
pub(crate) fn provider_token(gateways: &Gateways, header: Value, claims: Value) -> String {
    let pem = std::fs::read(&gateways.credentials().apns_keys()[0].path).unwrap();
    sign(&EncodingKey::from_ec_pem(&pem).unwrap(), header, claims)
}

/// A good provider token as of now.
pub(crate) fn good_token(gateways: &Gateways, hand: &Hand) -> String {
    let header = json!({ "alg": "ES256", "kid": KEY });
    provider_token(
        gateways,
        header,
        json!({ "iss": TEAM, "iat": hand.now_s() }),
    )
}

/// Any header and claims, signed.
pub(crate) fn sign(key: &EncodingKey, header: Value, claims: Value) -> String {
    let header: Header = serde_json::from_value(header).unwrap();
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

pub(crate) fn hmac(header: Value, claims: Value) -> String {
    assert_eq!(header["alg"], json!(Algorithm::HS256));
    sign(&EncodingKey::from_secret(b"secret"), header, claims)
}

/// A TLS client configuration that trusts the emulators' root.
pub(crate) fn tls(root: &Path, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(root).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Arc::new(config)
}

/// One HTTP/2 connection to APNs.
pub(crate) struct ApnsClient {
    pub(crate) send: SendRequest<Bytes>,
    /// Ends with the connection: Ok, or the error that ended it.
    pub(crate) closed: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// An answer of APNs.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn outcome(&self) -> (u16, &str) {
        (
            self.status.as_u16(),
            self.body["reason"].as_str().unwrap_or(""),
        )
    }
}

impl ApnsClient {
    pub(crate) async fn connect(gateways: &Gateways) -> Self {
        Self::connect_to(gateways, gateways.apns().addr()).await
    }

    pub(crate) async fn connect_to(gateways: &Gateways, addr: std::net::SocketAddr) -> Self {
        let config = tls(&gateways.credentials().root_ca_file(), &["h2"]);
        let tcp = TcpStream::connect(addr).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let (send, connection) = h2::client::handshake(tls).await.unwrap();
        Self {
            send,
            closed: tokio::spawn(connection),
        }
    }

    /// Sends without waiting; the answer comes with [`finish`].
    pub(crate) async fn start(
        &self,
        request: Request<Bytes>,
    ) -> Result<h2::client::ResponseFuture, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (parts, body) = request.into_parts();
        let empty = body.is_empty();
        let (answer, mut stream) = send.send_request(Request::from_parts(parts, ()), empty)?;
        if !empty {
            stream.send_data(body, true)?;
        }
        Ok(answer)
    }

    pub(crate) async fn call(&self, request: Request<Bytes>) -> Result<Answer, h2::Error> {
        finish(self.start(request).await?).await
    }
}

/// Longest wait for an answer: a failure is better than a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn finish(answer: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    tokio::time::timeout(PATIENCE, whole(answer))
        .await
        .expect("no answer")
}

async fn whole(answer: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut body) = answer.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend_from_slice(&chunk?);
    }
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

/// A push that APNs accepts, to be spoiled by the test.
pub(crate) struct Push {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Push {
    pub(crate) fn good(device: &str, jwt: &str) -> Self {
        Self {
            method: "POST",
            path: format!("/3/device/{device}"),
            headers: vec![
                ("authorization", format!("bearer {jwt}")),
                ("apns-topic", TOPIC.to_owned()),
                ("apns-push-type", "alert".to_owned()),
                ("apns-priority", "10".to_owned()),
            ],
            body: br#"{"aps":{"alert":{"loc-key":"K"},"mutable-content":1},"c":"1"}"#.to_vec(),
        }
    }

    /// Sets, or with an empty value removes, a header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(old, _)| *old != name);
        if !value.is_empty() {
            self.headers.push((name, value.to_owned()));
        }
        self
    }

    pub(crate) fn doubled(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn path(self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self
        }
    }

    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    pub(crate) fn request(self) -> Request<Bytes> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("https://localhost{}", self.path))
            .version(http::Version::HTTP_2);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Bytes::from(self.body)).unwrap()
    }
}

/// An HTTPS client on another stack (reqwest), trusting the emulators' root.
pub(crate) fn https(gateways: &Gateways) -> reqwest::Client {
    let config = (*tls(&gateways.credentials().root_ca_file(), &["h2", "http/1.1"])).clone();
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .build()
        .unwrap()
}
