//! `device-sim phone`, its standard input and output pipes.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use countersign_proto::v1::{
    ChallengeState, Decision, DecisionReason, Gateway, SignInContext, Withdrawal,
};
use device_sim::gateway::{Gateways, GatewaysConfig};
use device_sim::phone::EnrollmentUri;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::broker::FakeBroker;

/// Only for a program that hangs; nothing here depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Program {
    child: Child,
    keyboard: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_device-sim"))
            .arg("phone")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            keyboard: child.stdin.take().unwrap(),
            screen: BufReader::new(child.stdout.take().unwrap()).lines(),
            seen: Vec::new(),
            child,
        }
    }

    /// Reads until a line holds `text`.
    async fn sees(&mut self, text: &str) {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.screen.next_line()).await;
            let Ok(Ok(Some(line))) = line else {
                panic!("{text:?} was not shown, only {:#?}", self.seen);
            };
            self.seen.push(line);
            if self.seen.last().unwrap().contains(text) {
                return;
            }
        }
    }

    async fn types(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.keyboard.write_all(line.as_bytes()).await.unwrap();
    }

    async fn ends(&mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        status.unwrap().unwrap().code().unwrap()
    }
}

async fn uri(broker: &Arc<FakeBroker>) -> String {
    EnrollmentUri {
        broker: broker.serve().await,
        ticket: "TICKET".to_owned(),
        key_digest: broker.pin(),
    }
    .to_string()
}

fn challenge(broker: &FakeBroker) {
    let mut body = FakeBroker::challenge_body(60);
    body.context = Some(SignInContext {
        application_name: "Web\u{1b}[2Jmail".to_owned(),
        ..Default::default()
    });
    broker.challenges.lock().push(broker.sign(&body));
}

#[tokio::test]
async fn a_person_approves_in_dutch_after_a_restart() {
    let broker = FakeBroker::new();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("phone.json");
    let state = state.to_str().unwrap();
    let uri = uri(&broker).await;

    let mut phone = Program::start(&["--enroll", &uri, "--language", "nl-BE", "--state", state]);
    phone
        .sees("Deze telefoon is geregistreerd voor tom.cool@example.be bij Eagle IT BVBA.")
        .await;
    phone.types("q").await;
    phone.sees("Tot ziens.").await;
    assert_eq!(phone.ends().await, 0);

    challenge(&broker);
    let mut phone = Program::start(&["--state", state]);
    phone.sees("Moet de aanmelding worden goedgekeurd?").await;
    phone.sees("Web\u{FFFD}[2Jmail").await;
    phone.sees("GOEDKEUREN").await;
    phone.types("4g").await;
    phone.sees("Typ eerst het nummer van 2 cijfers").await;
    phone.types("2g").await;
    phone.sees("Aanmelding goedgekeurd.").await;
    assert!(!phone.seen.concat().contains('\u{1b}'));
    phone.types("q").await;
    assert_eq!(phone.ends().await, 0);
    let responses = broker.responses.lock().clone();
    assert_eq!(responses.len(), 1);
    assert_eq!(responses[0].decision(), Decision::Approve);
    assert_eq!(responses[0].number, "42");
    assert_eq!(*broker.acknowledged.lock(), ["c-1"]);
}

#[tokio::test]
async fn a_phone_woken_by_pushes_gets_a_new_token_when_its_own_is_gone() {
    let broker = FakeBroker::new();
    challenge(&broker);
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("phone.json");
    let state = state.to_str().unwrap();
    let uri = uri(&broker).await;
    let mut tokens = Vec::new();
    for registration in [vec!["--enroll", uri.as_str()], vec![]] {
        let gateways = Gateways::start(GatewaysConfig::default()).await.unwrap();
        let control = format!("http://{}/", gateways.control_addr());
        let mut arguments = registration;
        arguments.extend(["--language", "en", "--state", state]);
        arguments.extend(["--gateways", &control, "--gateway", "fcm"]);
        let mut phone = Program::start(&arguments);
        phone.sees("Approve sign-in?").await;
        let push = broker.push.lock().clone().unwrap();
        assert_eq!(push.gateway(), Gateway::Fcm);
        assert_eq!(push.app_id, "countersign-example");
        assert!(gateways.devices().connect(&push.token).is_some());
        tokens.push(push.token);
        // What is pending counts, not what was pushed.
        let withdrawn = std::mem::take(&mut *broker.challenges.lock());
        phone.sees("The request was withdrawn.").await;
        *broker.challenges.lock() = withdrawn;
        phone.types("q").await;
        assert_eq!(phone.ends().await, 0);
    }
    assert_ne!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn a_running_phone_gets_a_new_token_when_the_gateways_are_restarted() {
    let broker = FakeBroker::new();
    let uri = uri(&broker).await;
    let gateways = Gateways::start(GatewaysConfig::default()).await.unwrap();
    let control = gateways.control_addr();
    let address = format!("http://{control}");
    let arguments = ["--enroll", &uri, "--language", "en", "--gateways", &address];
    let mut phone = Program::start(&arguments);
    phone.sees("registered").await;
    let first = broker.push.lock().clone().unwrap();
    // Its pushes are open: the restart is noticed.
    while !gateways.devices().is_connected(&first.token) {
        tokio::task::yield_now().await;
    }
    drop(gateways);
    phone.sees("No connection to the server").await;
    let said = phone.seen.last().unwrap();
    assert!(!said.contains(&first.token), "{said}");
    let gateways = loop {
        let config = GatewaysConfig {
            control,
            ..GatewaysConfig::default()
        };
        match Gateways::start(config).await {
            Ok(gateways) => break gateways,
            // The old listener ends at its next turn.
            Err(_) => tokio::task::yield_now().await,
        }
    };
    phone.sees("Connected to the server.").await;
    let second = broker.push.lock().clone().unwrap();
    assert_ne!(second.token, first.token);
    assert!(gateways.devices().connect(&second.token).is_some());
    challenge(&broker);
    assert!(gateways.devices().uninstall(&second.token));
    phone.sees("Approve sign-in?").await;
    phone.types("q").await;
    assert_eq!(phone.ends().await, 0);
}

#[tokio::test]
async fn a_prompt_is_withdrawn_before_it_is_answered() {
    let broker = FakeBroker::new();
    challenge(&broker);
    broker.withdrawals.lock().push(Withdrawal {
        challenge_id: "c-1".to_owned(),
        state: ChallengeState::Cancelled.into(),
        reason: DecisionReason::Superseded.into(),
    });
    let uri = uri(&broker).await;
    let mut phone = Program::start(&["--enroll", &uri, "--language", "de", "--algorithm", "p256"]);
    phone
        .sees("Die Anfrage wurde durch eine neuere ersetzt.")
        .await;
    phone.types("42g").await;
    phone.types("q").await;
    phone.sees("Auf Wiedersehen.").await;
    assert_eq!(phone.ends().await, 0);
    assert!(broker.responses.lock().is_empty());
}

#[tokio::test]
async fn faults_are_said_and_end_it() {
    let broker = FakeBroker::new();
    let uri = uri(&broker).await;
    let directory = tempfile::tempdir().unwrap();
    let taken = directory.path().join("phone.json");
    std::fs::write(&taken, "{}").unwrap();
    let taken = taken.to_str().unwrap();
    for arguments in [
        vec![],
        vec!["--enroll", "0123-4567"],
        vec!["--enroll", &uri, "--state", taken],
        vec!["--state", taken],
        vec!["--enroll", "countersign://enroll?v=9"],
        vec!["--enroll", &uri, "--gateways", "https://127.0.0.1:1"],
    ] {
        let mut phone = Program::start(&arguments);
        assert_eq!(phone.ends().await, 1, "{arguments:?}");
    }
    assert!(broker.phone.lock().is_none(), "no ticket was spent");
}
