//! Ids of devices that are imported.

use countersign_proto::imported::imported_device_id;
use serde::{Deserialize, Serialize};

use crate::bodies::TENANT_ID;
use crate::files::{File, from_hex, hex};
use crate::keys;

/// What an id follows from; bytes in hex.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Imported {
    pub(crate) name: String,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    pub(crate) public_key: String,
    pub(crate) hashed_bytes: String,
    pub(crate) device_id: String,
}

/// A UUID's bytes.
fn bytes(uuid: &str) -> [u8; 16] {
    from_hex(&uuid.replace('-', "")).try_into().unwrap()
}

/// A UUID's text (RFC 9562, section 4).
fn text(uuid: [u8; 16]) -> String {
    let digits = hex(uuid);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| &digits[part]).join("-")
}

pub(crate) fn make() -> File<Imported> {
    let ed25519 = keys::ed25519_device().public();
    let p256 = keys::p256_device().public();
    let vectors = [
        ("ed25519", "tom.cool@example.be", ed25519.clone()),
        ("p256", "tom.cool@example.be", p256),
        ("beyond-ascii", "Ζωή Ångström", ed25519),
    ]
    .map(|(name, user_id, public_key)| {
        let hashed = [
            b"countersign/v1/imported-device\0".as_slice(),
            &bytes(TENANT_ID),
            b"\0",
            user_id.as_bytes(),
            b"\0",
            &public_key,
        ]
        .concat();
        Imported {
            name: name.to_owned(),
            tenant_id: TENANT_ID.to_owned(),
            user_id: user_id.to_owned(),
            device_id: text(imported_device_id(&bytes(TENANT_ID), user_id, &public_key)),
            public_key: hex(public_key),
            hashed_bytes: hex(hashed),
        }
    });
    File {
        about: "Ids of devices that are imported. See README.md.".to_owned(),
        vectors: vectors.into(),
    }
}
