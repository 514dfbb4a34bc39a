//! The shape of the files.

use std::path::PathBuf;

use countersign_proto::signing::Purpose;
use countersign_proto::v1::KeyAlgorithm;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One file of vectors.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct File<T> {
    pub(crate) about: String,
    pub(crate) vectors: Vec<T>,
}

/// The key of an accepted vector; all bytes in hex.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Key {
    pub(crate) algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) private_seed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) private_pkcs8: Option<String>,
    pub(crate) public_key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) key_id: Option<String>,
}

impl Key {
    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        algorithm(&self.algorithm)
    }
}

/// What the signature proves besides itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Related {
    /// The challenge that a response answers, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) challenge_body: Option<String>,
    /// The request that a device proof covers, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) request: Option<String>,
    /// The metadata value of a device proof, in base64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) metadata_value: Option<String>,
    /// The URI that an enrolment starts from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) enrollment_uri: Option<String>,
    /// The broker's key that the URI pins, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) broker_public_key: Option<String>,
    /// Of an audit head: the contents of the chain, from the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) contents: Option<Vec<String>>,
}

/// A signature that everybody accepts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Accepted {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) message: String,
    pub(crate) key: Key,
    pub(crate) fields: serde_json::Value,
    pub(crate) body: String,
    pub(crate) body_sha256: String,
    pub(crate) signed_bytes: String,
    pub(crate) signed_bytes_sha256: String,
    pub(crate) signature: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) related: Option<Related>,
}

/// A signature that nobody may accept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Rejected {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) label: String,
    pub(crate) algorithm: String,
    pub(crate) public_key: String,
    pub(crate) body: String,
    pub(crate) signature: String,
    /// Many libraries accept it; strict verification does not.
    pub(crate) strict_only: bool,
}

impl Rejected {
    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        algorithm(&self.algorithm)
    }
}

/// A public key that nobody may register or trust.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct RejectedKey {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) algorithm: String,
    pub(crate) public_key: String,
}

impl RejectedKey {
    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        algorithm(&self.algorithm)
    }
}

fn algorithm(name: &str) -> KeyAlgorithm {
    KeyAlgorithm::from_str_name(&format!("KEY_ALGORITHM_{name}")).expect("algorithm")
}

pub(crate) fn algorithm_name(algorithm: KeyAlgorithm) -> String {
    algorithm
        .as_str_name()
        .trim_start_matches("KEY_ALGORITHM_")
        .to_owned()
}

pub(crate) fn purpose(label: &str) -> Purpose {
    [
        Purpose::Challenge,
        Purpose::Response,
        Purpose::DeviceProof,
        Purpose::Enroll,
        Purpose::KeySuccession,
        Purpose::AuditHead,
        Purpose::AuditExport,
    ]
    .into_iter()
    .find(|purpose| purpose.label() == label)
    .expect("label")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{name}.json"))
}

/// The stored file; `None` when there is none yet.
pub(crate) fn read<T: DeserializeOwned>(name: &str) -> Option<File<T>> {
    let text = std::fs::read_to_string(path(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}.json: {error}")))
}

pub(crate) fn write<T: Serialize>(name: &str, file: &File<T>) {
    let text = serde_json::to_string_pretty(file).unwrap();
    std::fs::write(path(name), text + "\n").unwrap();
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
