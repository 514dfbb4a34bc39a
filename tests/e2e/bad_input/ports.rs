//! The two ports, spoken to in the wrong language.

use countersign_proto::v1;
use countersign_server::clock::Clock;
use countersign_tests::{
    START_MS, TestBroker,
    two_tenants::TwoTenants,
    wire::{Wire, ask, bearer, frame, http1, raw},
};
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::{Code, Status};

use super::complete;

fn random_blocks() -> Vec<Vec<u8>> {
    let seed = std::env::var("COUNTERSIGN_TEST_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse::<u64>().unwrap());
    println!("COUNTERSIGN_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let blocks = (0..50).map(|round| {
        let mut block = vec![0; 1 << (round % 14)];
        random.fill_bytes(&mut block);
        block
    });
    blocks.collect()
}

async fn get(broker: &TestBroker, path: &str) -> (u16, String, Vec<u8>) {
    http1(&ask(broker.http, request("GET", path).as_bytes()).await)
}

fn request(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
}

/// Both ports still do what they are for.
async fn alive(broker: &TestBroker) {
    let (code, _, body) = get(broker, "/readyz").await;
    assert_eq!(
        (code, body.as_slice()),
        (200, b"{\"status\":\"ready\"}".as_slice())
    );
    let all = v1::ListSigningKeysRequest {};
    broker.admin().list_signing_keys(all).await.unwrap();
}

#[tokio::test]
async fn the_http_port() {
    let broker = TestBroker::start().await;
    for block in random_blocks() {
        let answer = raw(broker.http, &block).await;
        // Nothing, or an error: never a page.
        if !answer.is_empty() {
            assert!((400..500).contains(&http1(&answer).0), "{block:02x?}");
        }
    }
    alive(&broker).await;
    for (path, kind) in [
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/metrics", "text/plain"),
        ("/.well-known/jwks.json", "application/jwk-set+json"),
    ] {
        let (code, head, body) = get(&broker, path).await;
        assert_eq!(code, 200, "{path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        assert!(!body.is_empty());
        for method in [
            "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE",
        ] {
            let answer = ask(broker.http, request(method, path).as_bytes()).await;
            assert_eq!(http1(&answer).0, 405, "{method} {path}");
        }
        let answer = ask(broker.http, request("HEAD", path).as_bytes()).await;
        let (code, _, body) = http1(&answer);
        assert_eq!((code, body.len()), (200, 0), "HEAD {path}");
    }
    for path in [
        "/",
        "/healthz/",
        "//healthz",
        "/HEALTHZ",
        "/.well-known/",
        "/.well-known/jwks.json/..",
        "/../../../../etc/passwd",
        "/.well-known/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/healthz%00",
        "/healthz/../metrics",
        "/\\..\\..\\x",
        "/countersign.v1.AdminService/ListTenants",
    ] {
        let (code, _, body) = get(&broker, path).await;
        assert_eq!(
            (code, body.as_slice()),
            (404, b"{\"error\":\"not found\"}".as_slice()),
            "{path}"
        );
    }
    let host = "host: broker\r\nconnection: close\r\n";
    for (bytes, wanted) in [
        (
            format!(
                "GET /healthz HTTP/1.1\r\n{host}x: {}\r\n\r\n",
                "x".repeat(1 << 20)
            ),
            431,
        ),
        (
            format!(
                "GET /healthz HTTP/1.1\r\n{host}{}\r\n",
                "x: y\r\n".repeat(1000)
            ),
            431,
        ),
        (
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(1 << 17)),
            414,
        ),
        (format!("GET /healthz HTTP/9.9\r\n{host}\r\n"), 400),
        (format!("GET /health z HTTP/1.1\r\n{host}\r\n"), 400),
        (
            format!("GET /healthz HTTP/1.1\r\n{host}bad header\r\n\r\n"),
            400,
        ),
        (
            format!("GET /healthz HTTP/1.1\r\n{host}content-length: x\r\n\r\n"),
            400,
        ),
        (
            format!(
                "GET /healthz HTTP/1.1\r\n{host}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"
            ),
            400,
        ),
    ] {
        let (code, _, _) = http1(&ask(broker.http, bytes.as_bytes()).await);
        assert_eq!(code, wanted, "{:.120}", bytes);
    }
    alive(&broker).await;
}

/// Connections that send half a request and then nothing hold up nobody.
#[tokio::test]
async fn half_requests() {
    let (clock, hand) = Clock::manual(START_MS);
    let limits = "[limits]\ndrain_timeout = \"1s\"";
    let mut broker = TestBroker::start_with(limits, clock, Some(hand)).await;
    let half = [
        b"GET /healthz HTTP/1.1\r\nhost: bro".as_slice(),
        b"POST /healthz HTTP/1.1\r\nhost: broker\r\ncontent-length: 100\r\n\r\nhalf",
        b"",
        b"PRI * HTTP/2.0\r\n\r\n",
    ];
    let mut held = Vec::new();
    for address in [broker.http, broker.grpc] {
        for round in 0..200 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(half[round % half.len()]).await.unwrap();
            held.push(stream);
        }
    }
    alive(&broker).await;
    // When it stops they may take as long as running calls may, no longer.
    broker.stop().await;
    drop(held);
}

/// The start of a TLS 1.3 client's first message (RFC 8446, section 4.1.2).
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\
    0123456789abcdef0123456789abcdef\x20abcdef0123456789abcdef0123456789";

#[tokio::test]
async fn the_grpc_port() {
    let broker = TestBroker::start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    for block in random_blocks() {
        let answer = raw(broker.grpc, &block).await;
        if !answer.is_empty() {
            assert!((400..500).contains(&http1(&answer).0), "{block:02x?}");
        }
        // Whatever comes after the preface, the connection ends and no other.
        raw(broker.grpc, &[preface, &block].concat()).await;
    }
    alive(&broker).await;
    for bytes in [CLIENT_HELLO, preface, &preface[..10], b"\0", b"\r\n\r\n"] {
        let answer = raw(broker.grpc, bytes).await;
        if let Some(b'H') = answer.first() {
            assert_eq!(http1(&answer).0, 400, "{bytes:02x?}");
        }
    }
    for path in ["/", "/healthz", "/countersign.v1.AdminService/ListTenants"] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = ask(broker.grpc, request(method, path).as_bytes()).await;
            let (code, _, _) = http1(&answer);
            assert!((400..500).contains(&code), "{method} {path}: {code}");
        }
    }
    alive(&broker).await;
}

/// A call of a browser: gRPC-Web over HTTP/1.1.
fn web(path: &str, key: &str, message: &[u8]) -> Vec<u8> {
    let body = frame(message);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n\
         authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Undoes `transfer-encoding: chunked`.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = std::str::from_utf8(&body[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
}

#[tokio::test]
async fn grpc_web() {
    let world = TwoTenants::start().await;
    let broker = &world.broker;
    let path = "/countersign.v1.ApprovalService/GetChallenge";
    let challenge_id = world.own.challenge.challenge_id.clone();
    let message = v1::GetChallengeRequest { challenge_id }.encode_to_vec();
    let key = &world.own.tenant.api_key;
    let (code, head, body) = http1(&ask(broker.grpc, &web(path, key, &message)).await);
    assert_eq!(code, 200);
    assert!(
        head.contains("content-type: application/grpc-web"),
        "{head}"
    );
    let body = unchunked(&body);
    let length = usize::try_from(u32::from_be_bytes(body[1..5].try_into().unwrap())).unwrap();
    let (data, trailer) = body.split_at(5 + length);
    let got = v1::GetChallengeResponse::decode(&data[5..]).unwrap();
    assert_eq!(got.challenge.unwrap(), world.own.challenge);
    assert_eq!(trailer[0], 0x80);
    assert!(String::from_utf8_lossy(&trailer[5..]).starts_with("grpc-status:0"));

    // Errors are the same as to any other client.
    let wire = Wire::connect(broker.grpc).await;
    let unknown = countersign_tests::two_tenants::unknown_id();
    let unknown = v1::GetChallengeRequest {
        challenge_id: unknown,
    }
    .encode_to_vec();
    for (key, message) in [
        ("csk_x", message.clone()),
        (key.as_str(), unknown),
        (key, Vec::new()),
        (key, vec![0xff]),
        (&broker.admin_key, message.clone()),
    ] {
        let (code, head, _) = http1(&ask(broker.grpc, &web(path, key, &message)).await);
        assert_eq!(code, 200);
        let mut headers = http::HeaderMap::new();
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let status = Status::from_header_map(&headers).unwrap_or_else(|| panic!("{head}"));
        assert_ne!(status.code(), Code::Ok);
        complete(&status);
        let usual = wire
            .call(path, &bearer(key), frame(&message))
            .await
            .refused();
        assert_eq!(
            (status.code(), status.details()),
            (usual.code(), usual.details())
        );
    }
}
