//! APNs' connections: protocol and streams.

use crate::client::{ApnsClient, Push, finish, gateways, good_token, iphone, tls};

#[tokio::test]
async fn one_stream_until_the_first_authenticated_answer() {
    let (gateways, hand) = gateways(|_| {}).await;
    let (device, jwt) = (iphone(&gateways), good_token(&gateways, &hand));
    let push = |jwt: &str| Push::good(&device, jwt).request();
    // The body of the first stays open, so that its answer can't come before the others.
    let client = ApnsClient::connect(&gateways).await;
    let (parts, body) = push(&jwt).into_parts();
    let request = http::Request::from_parts(parts, ());
    let mut send = client.send.clone().ready().await.unwrap();
    let (first, mut stream) = send.send_request(request, false).unwrap();
    let second = client.start(push(&jwt)).await;
    let refused = match second {
        Err(refused) => refused,
        Ok(second) => finish(second).await.unwrap_err(),
    };
    assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
    stream.send_data(body, true).unwrap();
    assert_eq!(finish(first).await.unwrap().outcome(), (200, ""));

    let many: Vec<_> =
        futures_util::future::try_join_all((0..50).map(|_| client.start(push(&jwt))))
            .await
            .unwrap();
    for answer in futures_util::future::try_join_all(many.into_iter().map(finish))
        .await
        .unwrap()
    {
        assert_eq!(answer.outcome(), (200, ""));
    }
    assert_eq!(gateways.apns().counters().refused_streams, 1);
    assert_eq!(
        client.send.current_max_send_streams(),
        1000,
        "announced by SETTINGS"
    );

    // An answer to an unauthenticated request doesn't count.
    let client = ApnsClient::connect(&gateways).await;
    let answer = client.call(push("x")).await.unwrap();
    assert_eq!(answer.outcome(), (403, "InvalidProviderToken"));
    assert_eq!(client.send.current_max_send_streams(), 1);
}

#[tokio::test]
async fn http_2_only() {
    let (gateways, _) = gateways(|_| {}).await;
    let root = gateways.credentials().root_ca_file();
    let connect = async |protocols: &[&str]| {
        let tcp = tokio::net::TcpStream::connect(gateways.apns().addr())
            .await
            .unwrap();
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        tokio_rustls::TlsConnector::from(tls(&root, protocols))
            .connect(name, tcp)
            .await
    };
    assert!(connect(&["http/1.1"]).await.is_err());
    let mut silent = connect(&[]).await.unwrap();
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut bytes).await;
    assert!(
        read.is_err() || bytes.is_empty(),
        "no protocol agreed: the connection is closed"
    );
    assert!(connect(&["h2"]).await.is_ok());
}
