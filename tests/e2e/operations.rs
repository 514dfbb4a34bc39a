//! What an operator meets: lost keys, revoked keys, a clock that is wrong,
//! strangers on the port.

use countersign_proto::v1::{self, ChallengeState as S, DecisionReason as R};
use countersign_server::{Server, clock::Clock};
use countersign_tests::{START_MS, TestBroker, config, end, field, sign_in};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// All admin keys are lost: whoever holds the broker's files makes another.
#[tokio::test]
async fn a_lost_admin_key_is_replaced_on_the_machine() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let revoked = broker.admin_key.split('_').nth(1).unwrap().to_owned();
    let mut admin = broker.admin();
    admin
        .revoke_api_key(v1::RevokeApiKeyRequest {
            api_key_id: revoked,
        })
        .await
        .unwrap();
    let refused = admin.list_tenants(v1::ListTenantsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    broker.stop().await;
    let (clock, _) = Clock::manual(START_MS);
    let folder = broker.data_dir().parent().unwrap().to_owned();
    let report = countersign_server::recover(&config(&folder, ""), &clock)
        .await
        .unwrap();
    broker.admin_key = report.admin_key;
    broker.restart().await;
    let tenants = broker
        .admin()
        .list_tenants(v1::ListTenantsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .tenants;
    assert_eq!(tenants[0].tenant_id, tenant.id);
}

/// A key that is revoked while its holder waits learns nothing more.
#[tokio::test]
async fn a_revoked_key_learns_nothing_more() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let mut watching = broker
        .approvals(&tenant)
        .watch_challenge(v1::WatchChallengeRequest {
            challenge_id: asked.challenge_id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    watching.message().await.unwrap().unwrap();
    broker
        .admin()
        .revoke_api_key(v1::RevokeApiKeyRequest {
            api_key_id: tenant.api_key_id.clone(),
        })
        .await
        .unwrap();
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    let told = watching.message().await.unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
}

/// Somebody who watches the broker's health is told that it stops, and does
/// not keep it from stopping.
#[tokio::test]
async fn who_watches_health_is_told_of_the_stop() {
    let mut broker = TestBroker::start().await;
    let mut watching = HealthClient::new(broker.channel())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(watching.message().await.unwrap().is_some());
    broker.stop().await;
    let last = loop {
        match watching.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(last.code(), Code::Unavailable);
}

/// A machine that comes up with a clock from before the broker was set up.
#[tokio::test]
async fn a_clock_set_back_stops_nothing() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    broker.hand.as_ref().unwrap().set(START_MS - 3_600_000);
    let phone = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, "")
        .await
        .unwrap();
    let decided = broker.decided(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));
}

/// A connection that says nothing, or only begins to, is closed: on both ports.
#[tokio::test]
async fn silence_loses_its_place() {
    let broker = TestBroker::start_real("[limits]\nhandshake_timeout = \"100ms\"\n").await;
    for address in [broker.grpc, broker.http] {
        for said in ["", "PRI * HTTP/2.0\r\n"] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            // An answer or none, but an end.
            drop(stream.read_to_end(&mut rest).await);
        }
    }
}

/// A browser's User-Agent can't fail a sign-in; a name that shows nothing can.
#[tokio::test]
async fn odd_texts() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    broker.phone(&tenant, "tom").await;
    let mut request = sign_in("tom");
    request.context.as_mut().unwrap().user_agent = format!("Moz\tilla\u{202e}{}", "x".repeat(600));
    broker
        .approvals(&tenant)
        .create_challenge(request)
        .await
        .unwrap();
    for name in ["  ", "Web\u{200b}mail", "\u{3164}", "Web\u{e0041}mail"] {
        let mut request = sign_in("tom");
        request.context.as_mut().unwrap().application_name = name.into();
        let refused = broker
            .approvals(&tenant)
            .create_challenge(request)
            .await
            .unwrap_err();
        assert_eq!(field(&refused), "context.application_name", "{name:?}");
    }
    // Joiners are part of scripts and emoji.
    let mut request = sign_in("tom");
    request.context.as_mut().unwrap().application_name = "می\u{200c}خواهم".into();
    broker
        .approvals(&tenant)
        .create_challenge(request)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_public_http_port_tells_nothing_of_the_inside() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "[public_http]\nlisten = \"127.0.0.1:0\"\n");
    let clock = Clock::system();
    countersign_server::init(&config, &clock).await.unwrap();
    let server = Server::bind(config, clock).await.unwrap();
    let ports = [server.http_addr(), server.public_http_addr().unwrap()];
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.serve(async move {
        drop(stopped.await);
    }));
    let status = async |port: usize, path: &str| {
        let url = format!("http://{}{path}", ports[port]);
        reqwest::get(url).await.unwrap().status().as_u16()
    };
    for (path, inside, outside) in [
        ("/healthz", 200, 200),
        ("/.well-known/jwks.json", 200, 200),
        ("/sms/nobody/status", 404, 404),
        ("/readyz", 200, 404),
        ("/metrics", 200, 404),
        ("/else", 404, 404),
    ] {
        assert_eq!(status(0, path).await, inside, "{path}");
        assert_eq!(status(1, path).await, outside, "{path}");
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
