//! An HTTP/2 server over TLS that does what a script says, stream by stream.

use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use h2::server::SendResponse;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;

/// What to do with one request.
pub(super) enum Act {
    Reply(u16, &'static str),
    ReplyWith(u16, Vec<u8>, &'static str, String),
    Reset(h2::Reason),
    GoAway(h2::Reason),
    Close,
    Stall,
}

pub(super) fn ok() -> Act {
    Act::Reply(200, "")
}

/// One request as received.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) connection: usize,
    pub(super) path: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Value,
    /// Answers already sent on this connection.
    pub(super) answered: usize,
    /// How many requests came before, on any connection.
    pub(super) index: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(super) fn jwt(&self) -> &str {
        self.header("authorization")
            .strip_prefix("bearer ")
            .unwrap()
    }
}

type Script = dyn Fn(&Seen) -> Act + Send + Sync;

pub(super) struct Server {
    pub(super) dir: tempfile::TempDir,
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certified.cert.pem()).unwrap();
        write_ec_key(&dir.path().join("key.p8"));
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            for connection in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, log, script) =
                    (acceptor.clone(), Arc::clone(&log), Arc::clone(&script));
                tokio::spawn(async move {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        serve(tls, connection, log, script).await;
                    }
                });
            }
        });
        Self { dir, url, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(super) fn key_file(&self) -> PathBuf {
        self.dir.path().join("key.p8")
    }

    pub(super) fn app(&self) -> ApnsApp {
        ApnsApp {
            app_id: "be.example.app".into(),
            environment: PushEnvironment::Production,
            team_id: "TEAM123456".into(),
            key_id: "KEY1234567".into(),
            key_file: self.key_file(),
            url: Some(self.url.clone()),
            root_ca_file: Some(self.dir.path().join("ca.pem")),
            max_in_flight: 500,
        }
    }

    pub(super) fn gateways(&self, clock: &Clock) -> Arc<Gateways> {
        let config = PushConfig {
            apns: vec![self.app()],
            fcm: Vec::new(),
        };
        Arc::new(Gateways::new(&config, clock.source()).unwrap())
    }
}

enum Order {
    GoAway(h2::Reason),
    Close,
}

async fn serve(
    tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    connection: usize,
    log: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
) {
    // With the default window, hundreds of requests at once are cut into frames
    // so small that the h2 crate takes them for an attack.
    let mut h2 = h2::server::Builder::new();
    h2.initial_connection_window_size(1 << 24);
    let Ok(mut h2) = h2.handshake(tls).await else {
        return;
    };
    let answered = Arc::new(AtomicUsize::new(0));
    let (orders, mut ordered) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            order = ordered.recv() => match order.unwrap() {
                Order::Close => return,
                Order::GoAway(reason) => {
                    h2.abrupt_shutdown(reason);
                    drop(poll_fn(|cx| h2.poll_closed(cx)).await);
                    return;
                }
            },
            request = h2.accept() => {
                let Some(Ok((request, respond))) = request else { return };
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                let (answered, orders) = (Arc::clone(&answered), orders.clone());
                tokio::spawn(handle(request, respond, connection, log, script, answered, orders));
            }
        }
    }
}

async fn handle(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    log: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
    answered: Arc<AtomicUsize>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let (parts, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = stream.data().await {
        stream.flow_control().release_capacity(chunk.len()).unwrap();
        body.extend_from_slice(&chunk);
    }
    let act = {
        let mut log = log.lock();
        let seen = Seen {
            connection,
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            answered: answered.load(Ordering::SeqCst),
            index: log.len(),
        };
        log.push(seen.clone());
        script(&seen)
    };
    let (status, body, extra) = match act {
        Act::Reply(status, "") => (status, Vec::new(), None),
        Act::Reply(status, reason) => {
            let body = serde_json::json!({"reason": reason, "timestamp": 1_700_000_000_123_u64});
            (status, body.to_string().into_bytes(), None)
        }
        Act::ReplyWith(status, body, name, value) => (status, body, Some((name, value))),
        Act::Reset(reason) => return respond.send_reset(reason),
        Act::GoAway(reason) => return drop(orders.send(Order::GoAway(reason))),
        Act::Close => return drop(orders.send(Order::Close)),
        Act::Stall => return std::future::pending().await,
    };
    answered.fetch_add(1, Ordering::SeqCst);
    let mut response = http::Response::builder().status(status);
    if let Some((name, value)) = extra {
        response = response.header(name, value);
    }
    let response = response.body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(response, body.is_empty())
        && !body.is_empty()
    {
        drop(stream.send_data(body.into(), true));
    }
}
