#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{fs, net::SocketAddr};

use futures_util::StreamExt;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// An authority, and certificates from it in a directory.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `<name>.crt` and `<name>.key`; gives the certificate.
    fn issue(&self, name: &str) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn files(&self, client_certificates: ClientCertificates) -> TlsFiles {
        TlsFiles {
            certificate_file: self.path("server.crt"),
            key_file: self.path("server.key"),
            client_ca_file: Some(self.path("ca.crt")),
            client_certificates,
        }
    }

    fn client(&self, identity: Option<&str>, alpn: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(name) => builder
                .with_client_auth_cert(
                    CertificateDer::pem_file_iter(self.path(&format!("{name}.crt")))
                        .unwrap()
                        .map(Result::unwrap)
                        .collect(),
                    PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

async fn listener(tls: Option<Tls>) -> (Listener, SocketAddr) {
    let options = ListenerOptions {
        tls,
        max_connections: 100,
        handshake_timeout: Duration::from_secs(600),
        idle_timeout: None,
    };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(loopback, options).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn handshake(
    connector: &TlsConnector,
    address: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
}

/// Reads one byte or the end. The limit only turns a wait without end into a
/// failure.
async fn read_one(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<usize> {
    let limit = Duration::from_secs(30);
    let mut byte = [0];
    tokio::time::timeout(limit, stream.read(&mut byte))
        .await
        .expect("nothing happens")
}

/// Accepts for ever; tells of every connection and keeps it open.
fn accept_all(mut listener: Listener) -> tokio::sync::mpsc::UnboundedReceiver<Connection> {
    let (accepted, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(connection) = listener.next().await {
            if accepted.send(connection.unwrap()).is_err() {
                return;
            }
        }
    });
    seen
}

#[tokio::test]
async fn plain_and_tls_connections_carry_bytes_and_tell_their_peer() {
    let (listener, address) = listener(None).await;
    let mut accepted = accept_all(listener);
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut server = accepted.recv().await.unwrap();
    assert_eq!(server.info().peer_address, client.local_addr().unwrap());
    assert!(!server.info().tls);
    client.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");

    let authority = Authority::new();
    let certificate = authority.issue("server");
    let tls = Tls::load(authority.files(ClientCertificates::Off), Protocols::Grpc).unwrap();
    let (listener, address) = self::listener(Some(tls)).await;
    let mut accepted = accept_all(listener);
    let connector = authority.client(None, &[b"h2"]);
    let mut client = handshake(&connector, address).await.unwrap();
    let session = client.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(session.peer_certificates().unwrap()[0], certificate);
    let mut server = accepted.recv().await.unwrap();
    assert!(server.info().tls);
    assert!(server.info().peer_certificates.is_empty());
    server.write_all(b"pong").await.unwrap();
    server.shutdown().await.unwrap();
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
}

#[tokio::test]
async fn each_port_offers_its_own_protocols() {
    let authority = Authority::new();
    authority.issue("server");
    for (protocols, offered, expected) in [
        (
            Protocols::Grpc,
            &[&b"http/1.1"[..], b"h2"][..],
            Some(&b"h2"[..]),
        ),
        (Protocols::Grpc, &[b"http/1.1"], Some(b"http/1.1")),
        (Protocols::Http, &[b"h2", b"http/1.1"], Some(b"http/1.1")),
        (Protocols::Http, &[b"h2"], None),
    ] {
        let tls = Tls::load(authority.files(ClientCertificates::Off), protocols).unwrap();
        let (listener, address) = listener(Some(tls)).await;
        let _accepted = accept_all(listener);
        let client = handshake(&authority.client(None, offered), address).await;
        match expected {
            Some(name) => {
                assert_eq!(client.unwrap().get_ref().1.alpn_protocol(), Some(name));
            }
            None => assert!(client.is_err()),
        }
    }
}

#[tokio::test]
async fn client_certificates_are_off_optional_or_required() {
    let authority = Authority::new();
    authority.issue("server");
    let phone = authority.issue("client");
    let stranger = Authority::new();
    stranger.issue("client");
    // A client whose certificate is of another authority, but who trusts ours.
    fs::copy(stranger.path("client.crt"), authority.path("stranger.crt")).unwrap();
    fs::copy(stranger.path("client.key"), authority.path("stranger.key")).unwrap();

    use ClientCertificates::{Off, Optional, Required};
    for (asked, identity, accepted_with) in [
        (Off, Some("client"), Some(0)),
        (Optional, None, Some(0)),
        (Optional, Some("client"), Some(1)),
        (Optional, Some("stranger"), None),
        (Required, None, None),
        (Required, Some("client"), Some(1)),
        (Required, Some("stranger"), None),
    ] {
        let tls = Tls::load(authority.files(asked), Protocols::Grpc).unwrap();
        let (listener, address) = listener(Some(tls)).await;
        let mut accepted = accept_all(listener);
        let connector = authority.client(identity, &[b"h2"]);
        // In TLS 1.3 the client is done before the server has judged it: what
        // it reads tells.
        let mut client = handshake(&connector, address).await.unwrap();
        match accepted_with {
            Some(certificates) => {
                let server = accepted.recv().await.unwrap();
                let seen = &server.info().peer_certificates;
                assert_eq!(seen.len(), certificates, "{asked:?} {identity:?}");
                assert!(seen.iter().all(|seen| *seen == phone));
            }
            None => {
                let refused = read_one(&mut client).await;
                assert!(refused.is_err(), "{asked:?} {identity:?}: {refused:?}");
                assert!(accepted.try_recv().is_err());
            }
        }
    }
}

#[tokio::test]
async fn changed_files_are_taken_and_faulty_ones_are_not() {
    let authority = Authority::new();
    let first = authority.issue("server");
    let files = authority.files(ClientCertificates::Off);
    let tls = Tls::load(files.clone(), Protocols::Grpc).unwrap();
    assert!(!tls.reload().unwrap());
    let (listener, address) = listener(Some(tls.clone())).await;
    let _accepted = accept_all(listener);
    let connector = authority.client(None, &[b"h2"]);
    let served = async || {
        let client = handshake(&connector, address).await.unwrap();
        client.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(served().await, first);

    let second = authority.issue("server");
    assert_eq!(served().await, first, "nobody has looked yet");
    assert!(tls.reload().unwrap());
    assert!(!tls.reload().unwrap());
    assert_eq!(served().await, second);

    // A certificate whose key has not arrived yet.
    let key = fs::read(&files.key_file).unwrap();
    let third = authority.issue("server");
    let third_key = fs::read(&files.key_file).unwrap();
    fs::write(&files.key_file, key).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Unusable { .. })));
    assert_eq!(served().await, second);
    fs::write(&files.key_file, third_key).unwrap();
    assert!(tls.reload().unwrap());
    assert_eq!(served().await, third);

    fs::remove_file(&files.key_file).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Unreadable { .. })));
    assert_eq!(served().await, third);
}

#[tokio::test]
async fn the_clock_makes_it_look_at_the_files() {
    let authority = Authority::new();
    authority.issue("server");
    let files = authority.files(ClientCertificates::Off);
    let tls = Tls::load(files, Protocols::Grpc).unwrap();
    let before = tls.current();
    let (clock, hand) = Clock::manual(0);
    let task = tokio::spawn(tls.clone().keep_fresh(clock));
    authority.issue("server");
    while Arc::ptr_eq(&before, &tls.current()) {
        hand.advance(RELOAD_INTERVAL);
        tokio::task::yield_now().await;
    }
    task.abort();
}

#[tokio::test]
async fn a_slow_handshake_holds_up_nobody() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = Tls::load(authority.files(ClientCertificates::Off), Protocols::Grpc).unwrap();
    let (listener, address) = listener(Some(tls)).await;
    let mut accepted = accept_all(listener);
    // Says nothing, and has ten minutes for it.
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let connector = authority.client(None, &[b"h2"]);
    let client = handshake(&connector, address).await.unwrap();
    let server = accepted.recv().await.unwrap();
    assert_eq!(
        server.info().peer_address,
        client.get_ref().0.local_addr().unwrap()
    );
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = Tls::load(authority.files(ClientCertificates::Off), Protocols::Grpc).unwrap();
    let options = ListenerOptions {
        tls: Some(tls),
        max_connections: 1,
        handshake_timeout: Duration::from_millis(20),
        idle_timeout: None,
    };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(loopback, options).await.unwrap();
    let address = listener.local_addr().unwrap();
    let _accepted = accept_all(listener);
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(read_one(&mut silent).await.unwrap(), 0);
}

#[tokio::test]
async fn a_plain_client_on_a_tls_port_is_turned_away() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = Tls::load(authority.files(ClientCertificates::Off), Protocols::Grpc).unwrap();
    let (listener, address) = listener(Some(tls)).await;
    let mut accepted = accept_all(listener);
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Nothing in plain but perhaps a TLS alert (content type 21, RFC 8446, 5.1).
    if plain.read_to_end(&mut answer).await.is_ok() {
        assert!(
            answer.first().is_none_or(|first| *first == 21),
            "{answer:?}"
        );
    }
    let client = handshake(&authority.client(None, &[b"h2"]), address).await;
    assert!(client.is_ok());
    assert!(accepted.recv().await.unwrap().info().tls);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_ends() {
    let options = ListenerOptions {
        tls: None,
        max_connections: 3,
        handshake_timeout: Duration::from_secs(600),
        idle_timeout: None,
    };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(loopback, options).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut accepted = accept_all(listener);
    let mut open = Vec::new();
    for _ in 0..3 {
        let client = TcpStream::connect(address).await.unwrap();
        open.push((client, accepted.recv().await.unwrap()));
    }
    let mut fourth = TcpStream::connect(address).await.unwrap();
    assert_eq!(read_one(&mut fourth).await.unwrap(), 0);
    drop(open.pop());
    let _fifth = TcpStream::connect(address).await.unwrap();
    assert!(accepted.recv().await.is_some());
}

/// The same listener serves gRPC by tonic and HTTP by axum, and both learn
/// who is at the other end.
#[tokio::test]
async fn tonic_and_axum_can_serve_it() {
    use axum::extract::ConnectInfo;

    let (listener, address) = listener(None).await;
    let app = axum::Router::new().route(
        "/",
        axum::routing::get(async |ConnectInfo(info): ConnectInfo<ConnectionInfo>| {
            info.peer_address.to_string()
        }),
    );
    tokio::spawn(
        axum::serve(
            listener,
            app.into_make_service_with_connect_info::<ConnectionInfo>(),
        )
        .into_future(),
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let own = client.local_addr().unwrap().to_string();
    assert!(answer.ends_with(&own), "{answer}");

    let authority = Authority::new();
    authority.issue("server");
    let tls = Tls::load(authority.files(ClientCertificates::Off), Protocols::Grpc).unwrap();
    let (listener, address) = self::listener(Some(tls)).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (_, health) = tonic_health::server::health_reporter();
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(health)
            .serve_with_incoming_shutdown(listener, async { drop(stopped.await) }),
    );
    let ca = tonic::transport::Certificate::from_pem(authority.issuer.pem());
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(ca)
        .domain_name("localhost");
    let channel = tonic::transport::Endpoint::from_shared(format!("https://{address}"))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest::default();
    assert_eq!(client.check(request).await.unwrap().into_inner().status, 1);
    drop(client);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
