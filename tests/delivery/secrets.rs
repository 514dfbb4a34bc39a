//! What may be printed of a push and of the senders. The log as a whole:
//! `e2e/secrets.rs`.

use super::*;

#[tokio::test]
async fn debug_shows_no_key_and_six_characters_of_a_token() {
    let rig = Rig::start().await;
    for gateway in [PushGateway::Apns, PushGateway::Fcm] {
        let push = rig.push(rig.phone(gateway));
        let outcome = rig.senders.send(&push).await;
        assert_eq!(outcome, Outcome::Accepted);
        let printed = format!("{push:?} {:?} {:#?}", rig.senders, rig.senders);
        let token = &push.target.token;
        assert!(printed.contains(&token[..6]), "{printed}");
        for secret in [&token[..7], &token[6..], "eyJ", "ya29.", "PRIVATE KEY"] {
            assert!(!printed.contains(secret), "{secret}: {printed}");
        }
    }
}
