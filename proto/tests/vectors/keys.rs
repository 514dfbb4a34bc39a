//! Keys from the RFCs, known to everybody: never use them for anything else.

use countersign_proto::signing::{PrivateKey, key_id};
use countersign_proto::v1::KeyAlgorithm;

use crate::files::{Key, algorithm_name, from_hex, hex};

/// A private key and the form it is written down in.
pub(crate) struct TestKey {
    pub(crate) private: PrivateKey,
    pub(crate) written: Key,
}

impl TestKey {
    pub(crate) fn public(&self) -> Vec<u8> {
        self.private.public_bytes()
    }
}

fn ed25519(seed: &str, of_broker: bool) -> TestKey {
    let bytes: [u8; 32] = from_hex(seed).try_into().unwrap();
    let private = PrivateKey::from_ed25519_seed(&bytes);
    let public: [u8; 32] = private.public_bytes().try_into().unwrap();
    TestKey {
        written: Key {
            algorithm: algorithm_name(KeyAlgorithm::Ed25519),
            private_seed: Some(seed.to_owned()),
            private_pkcs8: None,
            public_key: hex(public),
            key_id: of_broker.then(|| key_id(&public)),
        },
        private,
    }
}

/// The broker: RFC 8032, section 7.1, TEST 1.
pub(crate) fn broker() -> TestKey {
    ed25519(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        true,
    )
}

/// The broker's next key: RFC 8032, section 7.1, TEST 3.
pub(crate) fn next_broker() -> TestKey {
    ed25519(
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        true,
    )
}

/// A phone with Ed25519: RFC 8032, section 7.1, TEST 2.
pub(crate) fn ed25519_device() -> TestKey {
    ed25519(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        false,
    )
}

/// A phone with P-256: RFC 6979, appendix A.2.5.
pub(crate) fn p256_device() -> TestKey {
    // PrivateKeyInfo (RFC 5958) around ECPrivateKey (RFC 5915).
    let pkcs8 = concat!(
        "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420",
        "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        "a14403420004",
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    );
    let private = PrivateKey::from_p256_pkcs8(&from_hex(pkcs8)).unwrap();
    TestKey {
        written: Key {
            algorithm: algorithm_name(KeyAlgorithm::P256),
            private_seed: None,
            private_pkcs8: Some(pkcs8.to_owned()),
            public_key: hex(private.public_bytes()),
            key_id: None,
        },
        private,
    }
}
