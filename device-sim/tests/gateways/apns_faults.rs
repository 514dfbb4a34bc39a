//! Faults of APNs, as a client sees them.

use std::time::Duration;

use device_sim::fault::{Fault, FaultPlan};
use device_sim::gateway::{Fate, Gateways};
use h2::Reason;

use crate::client::{ApnsClient, Push, finish, gateways, good_token, iphone};

struct Scene {
    gateways: Gateways,
    device: String,
    jwt: String,
    client: ApnsClient,
}

impl Scene {
    /// A connection that is past its first answer.
    async fn new() -> Self {
        let (gateways, hand) = gateways(|_| {}).await;
        let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
        let client = ApnsClient::connect(&gateways).await;
        let scene = Self {
            gateways,
            device,
            jwt,
            client,
        };
        assert_eq!(
            scene.client.call(scene.push()).await.unwrap().outcome(),
            (200, "")
        );
        scene
    }

    fn push(&self) -> http::Request<bytes::Bytes> {
        Push::good(&self.device, &self.jwt).request()
    }

    fn schedule(&self, fault: Fault) {
        self.gateways.apns().faults().schedule([fault]);
    }

    fn fates(&self) -> Vec<Option<Fate>> {
        self.gateways
            .received()
            .iter()
            .map(|arrival| arrival.fate)
            .collect()
    }
}

#[tokio::test]
async fn scripted_refusals() {
    let scene = Scene::new().await;
    let mut pushes = scene.gateways.devices().connect(&scene.device).unwrap();
    assert!(pushes.try_recv().is_some(), "the first push waited");
    let reply = |status, reason: &str| Fault::Reply {
        status,
        reason: reason.to_owned(),
        retry_after: None,
    };
    let table = [
        (Fault::Unregistered, (410, "Unregistered"), None),
        (Fault::BadDeviceToken, (400, "BadDeviceToken"), None),
        (
            Fault::TooManyRequests {
                retry_after: Some(7),
            },
            (429, "TooManyRequests"),
            Some("7"),
        ),
        (Fault::InternalError, (500, "InternalServerError"), None),
        (
            Fault::Unavailable {
                retry_after: Some(3),
            },
            (503, "ServiceUnavailable"),
            Some("3"),
        ),
        (
            reply(403, "ExpiredProviderToken"),
            (403, "ExpiredProviderToken"),
            None,
        ),
        (
            reply(400, "NeverSeenBefore"),
            (400, "NeverSeenBefore"),
            None,
        ),
    ];
    for (fault, expected, retry_after) in table {
        scene.schedule(fault);
        let answer = scene.client.call(scene.push()).await.unwrap();
        assert_eq!(answer.outcome(), expected);
        assert_eq!(
            answer
                .headers
                .get("retry-after")
                .map(|value| value.to_str().unwrap()),
            retry_after
        );
        assert_eq!(answer.body.get("timestamp").is_some(), expected.0 == 410);
    }
    assert!(pushes.try_recv().is_none(), "nothing refused may arrive");

    // A bad request is refused for what is bad about it, fault or not.
    scene.schedule(Fault::Unregistered);
    let bad = Push::good(&scene.device, &scene.jwt).header("apns-priority", "7");
    let answer = scene.client.call(bad.request()).await.unwrap();
    assert_eq!(answer.outcome(), (400, "BadPriority"));
    assert_eq!(
        scene.client.call(scene.push()).await.unwrap().outcome(),
        (200, "")
    );
    assert!(pushes.try_recv().is_some());
}

#[tokio::test]
async fn lost_and_doubled() {
    let scene = Scene::new().await;
    let mut pushes = scene.gateways.devices().connect(&scene.device).unwrap();
    assert!(pushes.try_recv().is_some(), "the first push waited");
    scene.schedule(Fault::Drop);
    assert_eq!(
        scene.client.call(scene.push()).await.unwrap().outcome(),
        (200, "")
    );
    assert!(pushes.try_recv().is_none());
    scene.schedule(Fault::Duplicate);
    assert_eq!(
        scene.client.call(scene.push()).await.unwrap().outcome(),
        (200, "")
    );
    assert_eq!(pushes.try_recv().unwrap(), pushes.try_recv().unwrap());
    assert!(pushes.try_recv().is_none());
    let fates = [
        Some(Fate::Stored),
        Some(Fate::Dropped),
        Some(Fate::Duplicated),
    ];
    assert_eq!(scene.fates(), fates);
}

#[tokio::test]
async fn latency_changes_nothing_else() {
    let scene = Scene::new().await;
    scene.schedule(Fault::Latency { millis: 30 });
    assert_eq!(
        scene.client.call(scene.push()).await.unwrap().outcome(),
        (200, "")
    );
    let received = scene.gateways.received();
    assert_eq!(received[1].fault.as_deref(), Some("latency"));
    assert_eq!(received[1].fate, Some(Fate::Stored));
}

#[tokio::test]
async fn resets() {
    let scene = Scene::new().await;
    let table = [
        (Fault::RefuseStream, Reason::REFUSED_STREAM, None),
        (
            Fault::Reset { processed: false },
            Reason::INTERNAL_ERROR,
            None,
        ),
        (
            Fault::Reset { processed: true },
            Reason::INTERNAL_ERROR,
            Some(Fate::Stored),
        ),
    ];
    for (fault, reason, fate) in table {
        scene.schedule(fault);
        let failed = scene.client.call(scene.push()).await.unwrap_err();
        assert!(failed.is_reset() && failed.is_remote());
        assert_eq!(failed.reason(), Some(reason));
        assert_eq!(*scene.fates().last().unwrap(), fate);
    }
    assert_eq!(
        scene.client.call(scene.push()).await.unwrap().outcome(),
        (200, "")
    );
    assert_eq!(
        scene.gateways.apns().counters().outcomes["reset after processing"],
        1
    );
}

#[tokio::test]
async fn stall_after_the_headers() {
    let scene = Scene::new().await;
    scene.schedule(Fault::Stall);
    let answer = scene.client.start(scene.push()).await.unwrap();
    let (parts, mut body) = answer.await.unwrap().into_parts();
    assert_eq!(parts.status, 200);
    // Others on the connection go on meanwhile.
    assert_eq!(
        scene.client.call(scene.push()).await.unwrap().outcome(),
        (200, "")
    );
    let stalled = tokio::time::timeout(Duration::from_millis(50), body.data()).await;
    assert!(stalled.is_err(), "neither data nor end");
}

#[tokio::test]
async fn goaway_names_what_was_processed() {
    for code in [Reason::NO_ERROR, Reason::REFUSED_STREAM] {
        let scene = Scene::new().await;
        // An earlier stream that is still running gets its answer; the later one is not processed.
        scene.schedule(Fault::Latency { millis: 100 });
        scene.schedule(Fault::Goaway { code: code.into() });
        let earlier = scene.client.start(scene.push()).await.unwrap();
        let later = scene.client.start(scene.push()).await.unwrap();
        let failed = finish(later).await.unwrap_err();
        assert!(failed.is_go_away() && failed.is_remote(), "{failed:?}");
        assert_eq!(failed.reason(), Some(code));
        assert_eq!(finish(earlier).await.unwrap().outcome(), (200, ""));
        assert_eq!(scene.gateways.apns().counters().goaways, 1);
        let processed = scene.fates().iter().flatten().count();
        assert_eq!(processed, 2, "the first and the earlier one");
        drop(scene.client.send);
        drop(scene.client.closed.await.unwrap());

        let client = ApnsClient::connect(&scene.gateways).await;
        let push = Push::good(&scene.device, &scene.jwt).request();
        assert_eq!(client.call(push).await.unwrap().outcome(), (200, ""));
    }
}

#[tokio::test]
async fn disconnects_and_down() {
    let scene = Scene::new().await;
    scene.schedule(Fault::Disconnect);
    let failed = scene.client.call(scene.push()).await.unwrap_err();
    assert!(
        !failed.is_reset() || !failed.is_remote(),
        "no frame tells of it: {failed:?}"
    );

    let client = ApnsClient::connect(&scene.gateways).await;
    let faults = scene.gateways.apns().faults();
    faults
        .set(FaultPlan {
            down: true,
            ..FaultPlan::default()
        })
        .unwrap();
    drop(client.closed.await.unwrap());
    let tls = crate::client::tls(&scene.gateways.credentials().root_ca_file(), &["h2"]);
    let connect = async || {
        let tcp = tokio::net::TcpStream::connect(scene.gateways.apns().addr())
            .await
            .unwrap();
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(tls.clone())
            .connect(name, tcp)
            .await
    };
    assert!(connect().await.is_err());
    faults.clear();
    assert!(connect().await.is_ok());
}
