//! `countersign enroll`

use serde_json::json;

use super::{
    countersign, lines, parts,
    played::{IDP_KEY, Played},
};

#[tokio::test]
async fn enroll_shows_the_code_and_waits_for_the_phone() {
    let played = Played::default();
    let address = played.serve().await;
    let mut command = countersign(&["enroll", "tom", "--address", &address, "--ttl", "5m"]);
    command.env("COUNTERSIGN_API_KEY", IDP_KEY);
    let (code, stdout, stderr) = parts(command.output().await.unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("\u{1b}[30;107m"), "{stdout}");
    assert!(stdout.contains("Type this code: AAAA-BBBB-CCCC-DDDD\n"));
    assert!(stdout.contains("On the phone itself, open: countersign://enroll?t=1\n"));
    assert!(stdout.contains("Good until 1970-01-01T00:10:00Z."));
    assert!(
        stdout.ends_with("\"Tom's iPhone\" (iOS) is registered for tom: authenticator id d1\n")
    );
    assert_eq!(
        *played.asked.lock().unwrap(),
        [
            "CreateEnrollmentRequest { user_id: \"tom\", ttl: Some(Duration { seconds: 300, nanos: 0 }) }",
            "WaitEnrollmentRequest { enrollment_id: \"tom\", timeout: Some(Duration { seconds: 30, nanos: 0 }) }",
            "WaitEnrollmentRequest { enrollment_id: \"tom\", timeout: Some(Duration { seconds: 30, nanos: 0 }) }",
            "WaitEnrollmentRequest { enrollment_id: \"tom\", timeout: Some(Duration { seconds: 30, nanos: 0 }) }",
        ]
    );
}

#[tokio::test]
async fn enroll_fails_when_the_ticket_dies_and_speaks_json() {
    let address = Played::default().serve().await;
    let mut command = countersign(&["enroll", "late", "--json", "--address", &address]);
    command.env("COUNTERSIGN_API_KEY", IDP_KEY);
    let (code, stdout, stderr) = parts(command.output().await.unwrap());
    assert_eq!(
        (code, stderr.as_str()),
        (1, "countersign: nobody used the code before it expired\n")
    );
    assert_eq!(
        lines(&stdout),
        [json!({
            "enrollment_id": "late", "enrollment_uri": "countersign://enroll?t=1",
            "manual_code": "AAAA-BBBB-CCCC-DDDD", "expire_time": "1970-01-01T00:10:00Z",
        })]
    );
}
