//! SIGTERM: what runs may end, what waits is told, nothing new is taken.

use countersign_proto::v1::{self, ChallengeState as S, Decision};
use device_sim::phone::PhoneEvent;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tonic::Code;

use super::{Installation, moved, sign_in};

/// A gRPC message with its prefix: not compressed, its length.
fn framed(message: &impl prost::Message) -> bytes::Bytes {
    let body = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_at_sigterm() {
    let (installation, mut broker) = Installation::new().await;
    let provider = installation.provider(&broker);
    let phone = provider.enroll("tom").await.unwrap();
    let asked = provider.create(sign_in("tom")).await.unwrap();
    let id = asked.challenge_id.clone();

    let mut open_app = phone.subscribe().await.unwrap();
    loop {
        let event = open_app.next().await.unwrap().unwrap();
        if matches!(event, PhoneEvent::CaughtUp { .. }) {
            break;
        }
    }
    let request = v1::WatchChallengeRequest {
        challenge_id: id.clone(),
    };
    let watching = provider.approvals.clone().watch_challenge(request).await;
    let mut watching = watching.unwrap().into_inner();
    let first = watching.message().await.unwrap().unwrap();
    assert_eq!(first.challenge.unwrap().state(), S::Pending);

    // A call whose request is still on its way: it has begun, as the answer to
    // the one after it on the same connection shows.
    let stream = tokio::net::TcpStream::connect(&broker.grpc).await.unwrap();
    let (mut slow, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let call = |body: tokio::sync::mpsc::UnboundedReceiver<bytes::Bytes>| {
        let frames = futures_util::stream::unfold(body, |mut body| async move {
            let data = body.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Frame::data(data)), body))
        });
        hyper::Request::post(format!(
            "http://{}/countersign.v1.ApprovalService/GetChallenge",
            broker.grpc
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(
            "authorization",
            format!("Bearer {}", installation.tenant.api_key),
        )
        .body(StreamBody::new(Box::pin(frames)))
        .unwrap()
    };
    let get = framed(&v1::GetChallengeRequest {
        challenge_id: id.clone(),
    });
    let (half_sent, body) = tokio::sync::mpsc::unbounded_channel();
    half_sent.send(get.slice(..3)).unwrap();
    let slow_answer = tokio::spawn(slow.send_request(call(body)));
    let (whole, body) = tokio::sync::mpsc::unbounded_channel();
    whole.send(get.clone()).unwrap();
    drop(whole);
    let answer = slow.send_request(call(body)).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();

    // Two wait: one of them is known to, for the other has seen its place.
    let waiting = tokio::spawn({
        let (provider, id) = (provider.clone(), id.clone());
        async move { provider.wait(&id).await.unwrap() }
    });
    provider.get(&id).await.unwrap();

    broker.ask_to_end();
    let waited = waiting.await.unwrap();
    assert_eq!(waited.state(), S::Pending);
    assert_eq!(waited.challenge_id, id);
    // The prompt's progress may come before the end.
    let ended = loop {
        match watching.message().await {
            Ok(Some(still)) => assert_eq!(still.challenge.unwrap().state(), S::Pending),
            Ok(None) => panic!("it ended as if the challenge had"),
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    let ended = open_app.next().await.unwrap_err();
    assert_eq!(ended.code(), Some(Code::Unavailable));

    // The port is closed while the slow call goes on.
    while tokio::net::TcpStream::connect(&broker.grpc).await.is_ok() {
        tokio::task::yield_now().await;
    }
    half_sent.send(get.slice(3..)).unwrap();
    drop(half_sent);
    let answer = slow_answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let answer = answer.into_body().collect().await.unwrap();
    let status = answer.trailers().unwrap().get("grpc-status").unwrap();
    assert_eq!(status, "0");
    let message = answer.to_bytes().slice(5..);
    let told = v1::GetChallengeResponse::decode(message).unwrap();
    assert_eq!(told.challenge.unwrap().state(), S::Pending);
    assert_eq!(broker.ended().code(), Some(0));

    let broker = installation.start();
    let provider = installation.provider(&broker);
    assert_eq!(provider.get(&id).await.unwrap().state(), S::Pending);
    let phone = moved(&phone, &broker);
    let pending = phone.list_pending().await.unwrap().challenges;
    phone
        .respond(&pending[0], Decision::Approve, "")
        .await
        .unwrap();
    assert_eq!(provider.wait(&id).await.unwrap().state(), S::Approved);
}
