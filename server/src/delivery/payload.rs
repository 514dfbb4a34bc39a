//! The bodies that go through Apple and Google.
//!
//! Nothing about user, organisation, address or place stands in them: a
//! challenge id or a random one, and at most a ciphertext.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Content, Push, PushGateway};

/// Largest body: APNs "Generating a remote notification" and FCM "About FCM
/// messages" both say 4096 bytes. FCM counts the message alone; here the whole
/// request counts, which errs on the safe side.
pub(super) const MAX_BYTES: usize = 4096;

/// Longest life FCM takes: four weeks (REST reference, `AndroidConfig.ttl`).
const MAX_TTL_S: u64 = 2_419_200;

/// Version of the `countersign` object.
const VERSION: u32 = 1;

/// The app's own part: `{"v":1,"t":…,"id":…}`, and `c` with a ciphertext
/// (base64, RFC 4648 section 4).
fn countersign(content: &Content) -> Value {
    match content {
        Content::WakeUp { challenge_id } => {
            json!({"v": VERSION, "t": "challenge", "id": challenge_id})
        }
        Content::Sealed {
            challenge_id,
            ciphertext,
        } => json!({
            "v": VERSION,
            "t": "sealed",
            "id": challenge_id,
            "c": STANDARD.encode(ciphertext),
        }),
        Content::Withdraw { challenge_id } => {
            json!({"v": VERSION, "t": "withdraw", "id": challenge_id})
        }
        Content::Notice { notice_id } => {
            json!({"v": VERSION, "t": "notice", "id": notice_id})
        }
    }
}

/// The APNs payload ("Generating a remote notification"). A prompt has no
/// Approve button (category `APPROVAL_LOCKED`) until the app's extension has
/// verified the challenge. A withdrawal replaces the prompt through the same
/// collapse id, without sound.
pub(super) fn apns(content: &Content) -> Vec<u8> {
    let aps = match content {
        Content::WakeUp { .. } | Content::Sealed { .. } => json!({
            "alert": {
                "title-loc-key": "APPROVAL_REQUEST_TITLE",
                "loc-key": "APPROVAL_REQUEST_BODY",
            },
            "sound": "default",
            "category": "APPROVAL_LOCKED",
            "interruption-level": "time-sensitive",
            "mutable-content": 1,
        }),
        Content::Withdraw { .. } => json!({
            "alert": {
                "title-loc-key": "APPROVAL_WITHDRAWN_TITLE",
                "loc-key": "APPROVAL_WITHDRAWN_BODY",
            },
            "interruption-level": "passive",
            "mutable-content": 1,
        }),
        Content::Notice { .. } => json!({
            "alert": {
                "title-loc-key": "ACCOUNT_NOTICE_TITLE",
                "loc-key": "ACCOUNT_NOTICE_BODY",
            },
            "sound": "default",
            "mutable-content": 1,
        }),
    };
    json!({"aps": aps, "countersign": countersign(content)})
        .to_string()
        .into_bytes()
}

/// The body of FCM's `projects.messages.send`: data only, so that the app and
/// not the system shows the prompt; values of `data` must be strings.
pub(super) fn fcm(push: &Push, now_ms: u64) -> Vec<u8> {
    let ttl_s = (push.expire_at_ms.saturating_sub(now_ms) / 1000).min(MAX_TTL_S);
    let priority = match push.content {
        Content::WakeUp { .. } | Content::Sealed { .. } | Content::Notice { .. } => "HIGH",
        Content::Withdraw { .. } => "NORMAL",
    };
    json!({"message": {
        "token": push.target.token,
        "data": {"countersign": countersign(&push.content).to_string()},
        "android": {"priority": priority, "ttl": format!("{ttl_s}s")},
    }})
    .to_string()
    .into_bytes()
}

/// Whether the body is within [`MAX_BYTES`].
pub(super) fn fits(push: &Push) -> bool {
    let len = match push.target.gateway {
        PushGateway::Apns => apns(&push.content).len(),
        // Time 0 makes the longest `ttl`.
        PushGateway::Fcm => fcm(push, 0).len(),
    };
    len <= MAX_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use uuid::Uuid;

    use super::*;
    use crate::delivery::{PushEnvironment, PushTarget};

    fn push(gateway: PushGateway, content: Content) -> Push {
        Push {
            push_id: Uuid::nil(),
            collapse_id: "c".into(),
            target: PushTarget {
                gateway,
                app_id: "app".into(),
                environment: PushEnvironment::Production,
                token: "tok".into(),
            },
            expire_at_ms: 60_999,
            content,
        }
    }

    fn wake_up() -> Content {
        Content::WakeUp {
            challenge_id: "ch".into(),
        }
    }

    fn sealed(len: usize) -> Content {
        Content::Sealed {
            challenge_id: "ch".into(),
            ciphertext: vec![0; len],
        }
    }

    #[test]
    fn apns_prompt_is_exactly_this() {
        let body: Value = serde_json::from_slice(&apns(&wake_up())).unwrap();
        let expected = json!({
            "aps": {
                "alert": {
                    "title-loc-key": "APPROVAL_REQUEST_TITLE",
                    "loc-key": "APPROVAL_REQUEST_BODY",
                },
                "sound": "default",
                "category": "APPROVAL_LOCKED",
                "interruption-level": "time-sensitive",
                "mutable-content": 1,
            },
            "countersign": {"v": 1, "t": "challenge", "id": "ch"},
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_notice_says_that_there_is_one_and_no_more() {
        let notice_id = "n-1".to_owned();
        let content = Content::Notice { notice_id };
        let own = json!({"v": 1, "t": "notice", "id": "n-1"});
        let body: Value = serde_json::from_slice(&apns(&content)).unwrap();
        let expected = json!({
            "aps": {
                "alert": {
                    "title-loc-key": "ACCOUNT_NOTICE_TITLE",
                    "loc-key": "ACCOUNT_NOTICE_BODY",
                },
                "sound": "default",
                "mutable-content": 1,
            },
            "countersign": own,
        });
        assert_eq!(body, expected);
        let body = fcm(&push(PushGateway::Fcm, content), 1_000);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let data = &body["message"]["data"];
        assert_eq!(*data, json!({"countersign": own.to_string()}));
    }

    #[test]
    fn apns_withdrawal_is_silent() {
        let body: Value = serde_json::from_slice(&apns(&Content::Withdraw {
            challenge_id: "ch".into(),
        }))
        .unwrap();
        assert!(body["aps"].get("sound").is_none());
        assert_eq!(body["aps"]["interruption-level"], "passive");
        assert_eq!(body["countersign"]["t"], "withdraw");
    }

    #[test]
    fn fcm_is_data_only_with_string_values() {
        let body: Value =
            serde_json::from_slice(&fcm(&push(PushGateway::Fcm, sealed(3)), 1_000)).unwrap();
        let inner = json!({"v": 1, "t": "sealed", "id": "ch", "c": "AAAA"}).to_string();
        let expected = json!({"message": {
            "token": "tok",
            "data": {"countersign": inner},
            "android": {"priority": "HIGH", "ttl": "59s"},
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn fcm_withdrawal_has_normal_priority_and_may_be_late() {
        let withdraw = push(
            PushGateway::Fcm,
            Content::Withdraw {
                challenge_id: "ch".into(),
            },
        );
        let body: Value = serde_json::from_slice(&fcm(&withdraw, 99_999)).unwrap();
        assert_eq!(body["message"]["android"]["priority"], "NORMAL");
        assert_eq!(body["message"]["android"]["ttl"], "0s");
    }

    #[test]
    fn what_is_too_large_is_known_before_sending() {
        for gateway in [PushGateway::Apns, PushGateway::Fcm] {
            assert!(fits(&push(gateway, sealed(2_000))));
            assert!(!fits(&push(gateway, sealed(3_100))));
        }
    }
}
