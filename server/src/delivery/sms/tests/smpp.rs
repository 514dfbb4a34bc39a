use rusmpp::CommandStatus;
use rusmpp::values::{InterfaceVersion, Npi, Ton};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::smsc::{Fate, Seen, Smsc};
use super::*;

pub(super) fn config(port: u16, password_file: PathBuf) -> SmppConfig {
    SmppConfig {
        address: format!("127.0.0.1:{port}"),
        system_id: "broker".to_owned(),
        password_file,
        system_type: "OTP".to_owned(),
        source_addr: "EagleIT".to_owned(),
        source_ton: None,
        source_npi: None,
        tls: false,
        root_ca_file: None,
        allow_plaintext: false,
    }
}

struct Session {
    rig: Rig,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Session {
    fn start(smsc: &Smsc) -> Self {
        let rig =
            Rig::new(|secret| vec![("smsc", SmsGatewayKind::Smpp(config(smsc.port, secret)))]);
        Self::run(rig)
    }

    fn run(rig: Rig) -> Self {
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&rig.gateways).run(stop.clone()));
        Self { rig, stop, running }
    }

    /// Waits until as many receipts have been told.
    async fn receipts(&self, count: usize) -> Vec<TextState> {
        while self.rig.receipts.lock().len() < count {
            tokio::task::yield_now().await;
        }
        self.rig.states()
    }
}

fn receipt(id: &str, stat: &str) -> String {
    format!(
        "id:{id} sub:001 dlvrd:001 submit date:2611230512 done date:2611230513 stat:{stat} err:000 text:{CODE}"
    )
}

#[tokio::test]
async fn a_text_is_submitted_and_its_receipts_come_back() {
    let mut smsc = Smsc::start(|_| {
        Fate::Take(
            "0AB",
            vec![receipt("0AB", "ENROUTE"), receipt("0ab", "DELIVRD")],
        )
    })
    .await;
    let session = Session::start(&smsc);
    assert_eq!(session.rig.send().await, accepted_by("smsc"));
    let bind = smsc.bind().await;
    assert_eq!(bind.system_id.as_str(), "broker");
    assert_eq!(bind.password.as_str(), SECRET);
    assert_eq!(bind.system_type.as_str(), "OTP");
    assert_eq!(bind.interface_version, InterfaceVersion::Smpp3_4);
    let submit = smsc.submit().await;
    assert_eq!(submit.destination_addr.as_str(), "32470123456");
    assert_eq!(
        (submit.dest_addr_ton, submit.dest_addr_npi),
        (Ton::International, Npi::Isdn)
    );
    assert_eq!(submit.source_addr.as_str(), "EagleIT");
    assert_eq!(
        (submit.source_addr_ton, submit.source_addr_npi),
        (Ton::Alphanumeric, Npi::Unknown)
    );
    assert_eq!(u8::from(submit.registered_delivery), 1);
    assert_eq!(u8::from(submit.data_coding), 0);
    assert_eq!(u8::from(submit.esm_class), 0);
    assert_eq!(
        submit.short_message().as_ref(),
        b"483920 is your code, Zo\x05 & co".as_slice()
    );
    assert_eq!(
        session.receipts(2).await,
        [TextState::Sent, TextState::Delivered]
    );
    assert_eq!(session.rig.receipts.lock()[0].gateway, "smsc");
    assert!(matches!(
        smsc.seen.recv().await,
        Some(Seen::ReceiptAnswered)
    ));
}

#[tokio::test]
async fn a_receipt_may_overtake_the_response() {
    let smsc = Smsc::start(|_| Fate::ReceiptFirst("7", vec![receipt("7", "UNDELIV")])).await;
    let session = Session::start(&smsc);
    assert_eq!(session.rig.send().await, accepted_by("smsc"));
    let failed = TextState::Failed {
        reason: "UNDELIV".to_owned(),
    };
    assert_eq!(session.receipts(1).await, [failed]);
}

#[tokio::test]
async fn refusals_have_their_outcomes() {
    let table = [
        (CommandStatus::EsmeRinvdstadr, "rejected"),
        (CommandStatus::EsmeRthrottled, "retry_after"),
        (CommandStatus::EsmeRmsgqful, "retry_after"),
        (CommandStatus::EsmeRsyserr, "retry_after"),
        (CommandStatus::EsmeRinvsrcadr, "credential_rejected"),
        (CommandStatus::Other(0x400), "retry_after"),
    ];
    for (status, expected) in table {
        let smsc = Smsc::start(move |_| Fate::Refuse(status)).await;
        let session = Session::start(&smsc);
        let outcome = session.rig.send().await;
        assert_eq!(outcome.name(), expected, "{status:?} {outcome:?}");
    }
}

#[tokio::test]
async fn what_got_no_response_is_unknown_and_the_session_comes_back() {
    let mut smsc = Smsc::start(|n| match n {
        0 => Fate::HangUp,
        _ => Fate::Take("1", vec![]),
    })
    .await;
    let session = Session::start(&smsc);
    let unknown = TextOutcome::Unknown {
        gateway: "smsc".to_owned(),
        reason: "connection closed".to_owned(),
    };
    assert_eq!(session.rig.send().await, unknown);
    smsc.bind().await;
    smsc.bind().await;
    while session.rig.send().await != accepted_by("smsc") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_response_in_time_is_unknown() {
    let smsc = Smsc::start(|_| Fate::Ignore).await;
    let session = Session::start(&smsc);
    let text = Text {
        expire_at_ms: START_MS + 200,
        ..session.rig.text()
    };
    let unknown = TextOutcome::Unknown {
        gateway: "smsc".to_owned(),
        reason: "no answer in time".to_owned(),
    };
    assert_eq!(session.rig.gateways.send(&text).await, unknown);
}

#[tokio::test]
async fn a_refused_bind_alarms_until_it_works() {
    let mut smsc = Smsc::start(|_| Fate::Take("1", vec![])).await;
    smsc.answer_binds_with(CommandStatus::EsmeRinvpaswd);
    let session = Session::start(&smsc);
    assert_eq!(session.rig.send().await.name(), "credential_rejected");
    let alarms = session.rig.gateways.alarms();
    assert_eq!(alarms[0].credential, "broker");
    assert_eq!(alarms[0].reason, "bind: smpp status 0xe EsmeRinvpaswd");
    smsc.bind().await;
    smsc.answer_binds_with(CommandStatus::EsmeRok);
    smsc.bind().await;
    while session.rig.send().await != accepted_by("smsc") {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.rig.gateways.alarms(), []);
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let rig = Rig::new(|secret| vec![("smsc", SmsGatewayKind::Smpp(config(1, secret)))]);
    let session = Session::run(rig);
    let outcome = session.rig.send().await;
    assert_eq!(outcome.name(), "retry_after");
    assert!(
        format!("{outcome:?}").contains("can't connect"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn stopping_unbinds() {
    let mut smsc = Smsc::start(|_| Fate::Take("1", vec![])).await;
    let session = Session::start(&smsc);
    assert_eq!(session.rig.send().await, accepted_by("smsc"));
    session.stop.cancel();
    session.running.await.unwrap();
    while !matches!(smsc.seen.recv().await, Some(Seen::Unbind)) {}
    assert_eq!(session.rig.send().await.name(), "retry_after");
}
