//! Each kind of SMS gateway against its emulator.

use countersign_server::delivery::sms::{SmsGatewayKind, Text, TextState};
use device_sim::gateway::sms::SmsGateway::{self, Smpp, Twilio, Webhook};

use crate::sms_rig::{BODY, SmsRig, TO, accepted_by};

const ALL: [SmsGateway; 3] = [Twilio, Webhook, Smpp];

#[tokio::test]
async fn a_text_arrives_as_it_was_meant_and_its_receipt_comes_back() {
    for gateway in ALL {
        let mut rig = SmsRig::start(&[gateway]).await;
        assert_eq!(rig.send(TO).await, accepted_by(gateway), "{gateway:?}");
        let shown = rig.emulators.sms().inbox().wait_for(TO, |_| true).await;
        assert_eq!(shown.text, BODY, "{gateway:?}");
        assert_eq!((shown.gateway, shown.segments), (gateway, 1));
        let receipt = rig.last_state().await;
        assert_eq!(receipt.reference, "ref-32470123456");
        assert_eq!(receipt.gateway, gateway.name());
        assert_eq!(receipt.state, TextState::Delivered, "{gateway:?}");
    }
}

#[tokio::test]
async fn what_does_not_arrive_is_told() {
    for gateway in ALL {
        let mut rig = SmsRig::start(&[gateway]).await;
        for to in ["+15005550011", "+15005550012"] {
            assert_eq!(rig.send(to).await, accepted_by(gateway), "{gateway:?} {to}");
            let receipt = rig.last_state().await;
            assert_eq!(receipt.reference, format!("ref-{}", &to[1..]));
            let failed =
                matches!(&receipt.state, TextState::Failed { reason } if !reason.is_empty());
            assert!(failed, "{gateway:?} {to} {receipt:?}");
        }
    }
}

#[tokio::test]
async fn a_number_that_is_none_is_rejected_where_the_gateway_says_so() {
    for gateway in [Twilio, Smpp] {
        let rig = SmsRig::start(&[gateway]).await;
        let outcome = rig.send("+15005550001").await;
        assert_eq!(outcome.name(), "rejected", "{gateway:?} {outcome:?}");
        assert!(!format!("{outcome:?}").contains("5550001"), "{outcome:?}");
        assert_eq!(rig.taken(gateway), 0);
    }
}

#[tokio::test]
async fn without_a_reference_no_receipt_is_asked_for() {
    for gateway in ALL {
        let mut rig = SmsRig::start(&[gateway]).await;
        let silent = Text {
            reference: String::new(),
            ..rig.text("+32470000001")
        };
        assert_eq!(rig.gateways.send(&silent).await, accepted_by(gateway));
        rig.emulators
            .sms()
            .inbox()
            .wait_for(&silent.to, |_| true)
            .await;
        assert_eq!(rig.send(TO).await, accepted_by(gateway));
        // The first receipt is already the second text's.
        let first = rig.receipts.recv().await.unwrap();
        assert_eq!(first.reference, "ref-32470123456", "{gateway:?}");
    }
}

#[tokio::test]
async fn a_wrong_secret_alarms() {
    for gateway in ALL {
        let dir = tempfile::tempdir().unwrap();
        let wrong = dir.path().join("wrong");
        std::fs::write(&wrong, "wrong").unwrap();
        let rig = SmsRig::with(&[gateway], |config| match &mut config.gateways[0].kind {
            SmsGatewayKind::Webhook(webhook) => webhook.secret_file = Some(wrong),
            SmsGatewayKind::Twilio(twilio) => twilio.auth_token_file = wrong,
            SmsGatewayKind::Smpp(smpp) => smpp.password_file = wrong,
        })
        .await;
        let outcome = rig.send(TO).await;
        assert_eq!(
            outcome.name(),
            "credential_rejected",
            "{gateway:?} {outcome:?}"
        );
        let alarms = rig.gateways.alarms();
        assert_eq!(alarms[0].gateway.name(), gateway.name());
        assert_eq!(rig.taken(gateway), 0);
    }
}

#[tokio::test]
async fn twilios_signatures_are_understood() {
    let rig = SmsRig::start(&[Twilio]).await;
    assert_eq!(rig.send(TO).await, accepted_by(Twilio));
    let inbox = rig.emulators.sms().inbox();
    let told = inbox.wait_until(|messages| {
        let told = messages.iter().find(|message| message.receipts.len() == 3);
        told.map(|message| message.receipts.clone())
    });
    let answers: Vec<_> = told
        .await
        .into_iter()
        .map(|receipt| receipt.answer)
        .collect();
    assert_eq!(answers, ["204", "204", "204"]);
}

#[tokio::test]
async fn stopping_unbinds() {
    let rig = SmsRig::start(&[Smpp]).await;
    assert_eq!(rig.send(TO).await, accepted_by(Smpp));
    rig.stop.cancel();
    let text = rig.text(TO);
    rig.running.await.unwrap();
    assert_eq!(rig.gateways.send(&text).await.name(), "retry_after");
}
