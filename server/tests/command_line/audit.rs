//! `countersign audit` with a broker that is played.

use super::{
    countersign, lines, parts,
    played::{ADMIN_KEY, Played},
};

#[tokio::test]
async fn the_audit_trail_is_listed_and_followed() {
    let played = Played::default();
    let address = played.serve().await;
    let run = async |arguments: &[&str]| {
        let mut command = countersign(arguments);
        command
            .env("COUNTERSIGN_ADDRESS", &address)
            .env("COUNTERSIGN_ADMIN_KEY", ADMIN_KEY);
        parts(command.output().await.unwrap())
    };
    let (code, stdout, _) = run(&["audit", "list", "--follow", "--limit", "1", "--json"]).await;
    assert_eq!(code, 0);
    let objects: Vec<_> = lines(&stdout)
        .iter()
        .map(|line| line["object"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(objects, ["object 2", "object 3"]);
    let asked = played.asked.lock().unwrap().clone();
    assert!(asked[2].contains("resume_token: \"1.2\""), "{asked:?}");
    let filter = ["audit", "list", "--follow", "--object", "object 2"];
    let (code, stdout, _) = run(&filter).await;
    assert_eq!(code, 0);
    assert!(
        stdout.contains("object 2") && !stdout.contains("object 3"),
        "{stdout}"
    );
    assert!(!stdout.contains('\u{1b}'), "{stdout}");
    let (code, _, stderr) = run(&["audit", "export"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("incomplete"), "{stderr}");
    let (code, _, stderr) = run(&["audit", "verify", "/nowhere"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read /nowhere"), "{stderr}");
}
