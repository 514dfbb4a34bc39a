//! Sends what the plan on standard input says with a stock client, and writes
//! one JSON object per push to standard output: what the client made of the
//! answer. `run.py` makes the plan and judges the answers.

mod stock;

use std::io::Read as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What to send, with which crate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    library: Library,
    /// Clients by name, each with connections and a provider token of its own.
    clients: std::collections::BTreeMap<String, ClientSettings>,
    /// One group after the other, the pushes of a group at once.
    groups: Vec<Vec<Push>>,
}

#[derive(Deserialize)]
enum Library {
    #[serde(rename = "a2")]
    A2,
    #[serde(rename = "apns-h2")]
    ApnsH2,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientSettings {
    sandbox: bool,
    key_file: String,
    key_id: String,
    team_id: String,
}

#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
struct Push {
    client: String,
    token: String,
    topic: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    collapse_id: Option<String>,
    #[serde(default)]
    expiration: Option<u64>,
    /// Priority 10 if set, else 5.
    #[serde(default)]
    high: bool,
    payload: Payload,
}

/// What the library is asked to build.
#[derive(Deserialize, Debug, Clone)]
#[serde(rename_all = "snake_case")]
enum Payload {
    /// Title, body and sound.
    Alert { body: String },
    /// A silent push, as the library's builder makes it.
    Background,
    /// A body of one's own, under a push type.
    Raw {
        push_type: String,
        body: Map<String, Value>,
    },
}

/// What the library said.
#[derive(Serialize, Default)]
struct Answer {
    status: Option<u16>,
    reason: Option<String>,
    timestamp: Option<u64>,
    id: Option<String>,
    /// No answer at all, and why.
    failure: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let plan: Plan = serde_json::from_str(&text)?;
    let answers = match plan.library {
        Library::A2 => stock::with_a2::run(plan).await?,
        Library::ApnsH2 => stock::with_apns_h2::run(plan).await?,
    };
    for answer in answers {
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}
