//! What a push tells the app.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_proto::v1::SealedChallenge;
use prost::Message as _;
use serde_json::Value;

use super::{Phone, PhoneError, VerifiedChallenge};

/// The only version there is.
const VERSION: u64 = 1;

/// The app's own part of a push: the object `countersign` beside `aps`, or the
/// text of that name in FCM's `data`. Nobody signed it.
#[derive(Clone, Debug, PartialEq)]
pub enum PushMessage {
    /// "Come and fetch this challenge."
    Challenge {
        /// Which.
        id: String,
    },
    /// The challenge itself, for this device alone.
    Sealed {
        /// Which.
        id: String,
        /// To be opened with [`Phone::open`].
        sealed: SealedChallenge,
    },
    /// "Something happened to the account: come and look."
    Notice {
        /// Which, in the list.
        id: String,
    },
    /// "This needs no answer any more."
    Withdraw {
        /// Which.
        id: String,
    },
}

impl PushMessage {
    /// Reads the push as an operating system hands it to the app: `payload`
    /// from APNs, `message` from FCM, as the emulators write them. `None`:
    /// nothing that this version understands, a reason to fetch.
    #[must_use]
    pub fn read(push: &Value) -> Option<Self> {
        let own = match push.pointer("/payload/countersign") {
            Some(own) => own.clone(),
            None => {
                let text = push.pointer("/message/data/countersign")?.as_str()?;
                serde_json::from_str(text).ok()?
            }
        };
        if own.get("v").and_then(Value::as_u64) != Some(VERSION) {
            return None;
        }
        let text = |name| own.get(name).and_then(Value::as_str);
        let id = text("id")?.to_owned();
        match text("t")? {
            "challenge" => Some(Self::Challenge { id }),
            "sealed" => {
                let bytes = STANDARD.decode(text("c")?).ok()?;
                let sealed = SealedChallenge::decode(bytes.as_slice()).ok()?;
                Some(Self::Sealed { id, sealed })
            }
            "notice" => Some(Self::Notice { id }),
            "withdraw" => Some(Self::Withdraw { id }),
            _ => None,
        }
    }
}

impl Phone {
    /// Opens a challenge that came sealed in a push and makes every check that
    /// is made of a fetched one.
    ///
    /// # Errors
    /// [`PhoneError::NotOpened`], and those of [`Phone::verify`]. Whatever it
    /// is, [`Phone::list_pending`] tells what is pending.
    pub fn open(
        &self,
        id: &str,
        sealed: &SealedChallenge,
    ) -> Result<VerifiedChallenge, PhoneError> {
        let key = self.encryption_key().ok_or(PhoneError::NotOpened)?;
        let signed = key
            .open(sealed, self.device_id(), id)
            .map_err(|_| PhoneError::NotOpened)?;
        let challenge = self.verify(signed)?;
        if challenge.id() != id {
            return Err(PhoneError::NotOpened);
        }
        Ok(challenge)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn both_vendors_forms_are_read() {
        let sealed = SealedChallenge {
            encapsulated_key: vec![1; 32].into(),
            ciphertext: vec![2; 40].into(),
        };
        let c = STANDARD.encode(sealed.encode_to_vec());
        let id = || "c-1".to_owned();
        for (own, wanted) in [
            (
                json!({"v": 1, "t": "challenge", "id": "c-1"}),
                PushMessage::Challenge { id: id() },
            ),
            (
                json!({"v": 1, "t": "sealed", "id": "c-1", "c": c}),
                PushMessage::Sealed { id: id(), sealed },
            ),
            (
                json!({"v": 1, "t": "notice", "id": "c-1"}),
                PushMessage::Notice { id: id() },
            ),
            (
                json!({"v": 1, "t": "withdraw", "id": "c-1"}),
                PushMessage::Withdraw { id: id() },
            ),
        ] {
            let apns = json!({"payload": {"aps": {}, "countersign": own}});
            let fcm = json!({"message": {"data": {"countersign": own.to_string()}}});
            assert_eq!(PushMessage::read(&apns), Some(wanted.clone()));
            assert_eq!(PushMessage::read(&fcm), Some(wanted));
        }
    }

    #[test]
    fn what_is_not_understood_is_no_message() {
        for own in [
            json!({"v": 2, "t": "challenge", "id": "c-1"}),
            json!({"v": 1, "t": "later", "id": "c-1"}),
            json!({"v": 1, "t": "challenge"}),
            json!({"v": 1, "t": "sealed", "id": "c-1"}),
            json!({"v": 1, "t": "sealed", "id": "c-1", "c": "?"}),
            json!({"v": 1, "t": "sealed", "id": "c-1", "c": "/w=="}),
            json!("text"),
        ] {
            let push = json!({"payload": {"countersign": own}});
            assert_eq!(PushMessage::read(&push), None, "{push}");
        }
        assert_eq!(PushMessage::read(&json!({})), None);
    }
}
