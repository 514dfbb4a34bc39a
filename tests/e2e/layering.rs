//! The arrows of `ARCHITECTURE.md`: reads the sources and fails when one runs
//! the wrong way.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Which rooms of the broker a room may name, itself aside.
const ROOMS: [(&str, &[&str]); 10] = [
    ("api", &["broker", "domain", "metrics", "tls"]),
    (
        "broker",
        &["store", "delivery", "texts", "domain", "clock", "metrics"],
    ),
    ("store", &["domain"]),
    ("delivery", &["domain"]),
    ("texts", &["domain"]),
    ("domain", &[]),
    ("clock", &[]),
    ("metrics", &["domain"]),
    ("telemetry", &[]),
    ("tls", &["clock"]),
];

/// Crates and the only rooms that may name them. The program itself (`main`,
/// `startup`, `cli`, `tls`) puts the rooms together.
const CRATES: [(&str, &[&str]); 23] = [
    ("tonic", &["api", "startup", "cli", "tls"]),
    ("tonic_health", &["api", "startup", "tls"]),
    ("tonic_prost", &[]),
    ("tonic_reflection", &["api", "startup"]),
    ("tonic_types", &["api", "cli"]),
    ("tonic_web", &["startup"]),
    ("tower_layer", &["api"]),
    ("tower_service", &["api"]),
    // In `delivery` the stand-ins of its own tests.
    ("axum", &["api", "startup", "tls", "delivery"]),
    ("sled", &["store"]),
    ("hyper", &["delivery"]),
    ("hyper_util", &["delivery"]),
    ("hyper_rustls", &["delivery"]),
    ("reqwest", &["delivery"]),
    ("h2", &["delivery"]),
    ("rusmpp", &["delivery"]),
    ("rusmppc", &["delivery"]),
    ("jsonwebtoken", &["delivery"]),
    ("phonenumber", &["domain"]),
    ("fluent_bundle", &["texts"]),
    ("deunicode", &["texts"]),
    ("device_sim", &[]),
    ("countersign_server", &["main", "cli"]),
];

/// Crates that the rules themselves must not know: no I/O, no async.
const NOT_IN_DOMAIN: [&str; 6] = [
    "tokio",
    "tokio_util",
    "futures_util",
    "async_trait",
    "getrandom",
    "rand",
];

/// Messages that are signed or sealed, or stand inside one: the domain makes and
/// reads them. All others belong to `api` (and to the command line, a client).
const SIGNED: [&str; 15] = [
    "AuditContent",
    "AuditHead",
    "AuditSeal",
    "BrokerKey",
    "ChallengeBody",
    "Decision",
    "Detail",
    "DeviceProof",
    "EnrollmentBody",
    "KeyAlgorithm",
    "ResponseBody",
    "SignInContext",
    "SignedChallenge",
    "SignedDeviceProof",
    "UserVerification",
];

/// Identifiers, `::`, and single characters; comments and literals left out.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if raw_string(&chars, i).is_some() => {
                i = raw_string(&chars, i).unwrap();
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            // A character, not a lifetime.
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                found.push("::".to_owned());
                i += 2;
            }
            (c, _) if c == '_' || c.is_alphabetic() => {
                let start = i;
                while at(i) == '_' || at(i).is_alphanumeric() {
                    i += 1;
                }
                found.push(chars[start..i].iter().collect());
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    found
}

/// The end of the raw string that starts at `from`, if one does.
fn raw_string(chars: &[char], from: usize) -> Option<usize> {
    let before = from.checked_sub(1).and_then(|index| chars.get(index));
    if before.is_some_and(|c| *c == '_' || c.is_alphanumeric()) && before != Some(&'b') {
        return None;
    }
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let start = from + 1 + hashes;
    if chars.get(start) != Some(&'"') {
        return None;
    }
    let end: String = format!("\"{}", "#".repeat(hashes));
    let rest: String = chars[start + 1..].iter().collect();
    let length = rest[..rest.find(&end)?].chars().count();
    Some(start + 1 + length + end.len())
}

fn is_name(token: &str) -> bool {
    token
        .chars()
        .next()
        .is_some_and(|c| c == '_' || c.is_alphabetic())
}

/// Every path in the source, `use` trees written out.
fn paths(source: &str) -> Vec<Vec<String>> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if is_name(&tokens[i]) {
            let lonely = i > 0 && tokens[i - 1] == "use";
            let before = found.len();
            i = path(&tokens, i, Vec::new(), &mut found);
            if !lonely {
                let kept: Vec<_> = found
                    .drain(before..)
                    .filter(|path: &Vec<String>| path.len() > 1)
                    .collect();
                found.extend(kept);
            }
        } else {
            i += 1;
        }
    }
    found
}

/// Reads one path (or tree) from `i` on; where it ends.
fn path(
    tokens: &[String],
    mut i: usize,
    mut so_far: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    loop {
        if is_name(at(i)) {
            so_far.push(at(i).to_owned());
            i += 1;
        } else if at(i) == "*" && !so_far.is_empty() {
            so_far.push("*".to_owned());
            found.push(so_far);
            return i + 1;
        } else if at(i) == "{" && !so_far.is_empty() {
            i += 1;
            while i < tokens.len() && at(i) != "}" {
                if is_name(at(i)) {
                    i = path(tokens, i, so_far.clone(), found);
                } else {
                    i += 1;
                }
            }
            return i + 1;
        } else {
            found.push(so_far);
            return i;
        }
        if at(i) == "as" {
            // Under another name the rest can't be followed.
            so_far.push("as".to_owned());
            found.push(so_far);
            return i + 2;
        }
        if at(i) != "::" {
            found.push(so_far);
            return i;
        }
        i += 1;
    }
}

/// The module path of a file of the broker, e.g. `[broker, challenge]`.
fn module(file: &str) -> Vec<&str> {
    let mut parts: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    parts
}

/// What a file of `server/src` names and must not.
fn wrong_arrows(file: &str, source: &str) -> Vec<String> {
    let module = module(file);
    let room = module[0];
    let rooms = ROOMS.iter().find(|(name, _)| *name == room);
    let mut wrong = Vec::new();
    for path in paths(source) {
        let first = path[0].as_str();
        let supers = path.iter().take_while(|part| *part == "super").count();
        // `super` from a file, or from a module inside it, up to the root.
        let named = if first == "crate" {
            path.get(1)
        } else if supers >= module.len() {
            path.get(supers)
        } else {
            None
        };
        if let (Some((_, allowed)), Some(named)) = (rooms, named) {
            let other = ROOMS.iter().any(|(name, _)| name == named)
                || ["cli", "config", "startup"].contains(&named.as_str());
            if other && named != room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{room} names {named}"));
            }
        }
        if let Some((name, allowed)) = CRATES.iter().find(|(name, _)| *name == first)
            && !allowed.contains(&room)
        {
            wrong.push(format!("{room} names the crate {name}"));
        }
        if room == "domain" && NOT_IN_DOMAIN.contains(&first) {
            wrong.push(format!("domain names the crate {first}"));
        }
        let message = match path.as_slice() {
            [proto, v1, message, ..] if proto == "countersign_proto" && v1 == "v1" => message,
            [v1, message, ..] if v1 == "v1" => message,
            _ => continue,
        };
        let below = [
            "broker", "store", "delivery", "texts", "domain", "clock", "metrics",
        ];
        if below.contains(&room) && message != "self" && !SIGNED.contains(&message.as_str()) {
            wrong.push(format!("{room} names the message {message}"));
        }
    }
    wrong
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// Every source below a directory of the workspace, by its name there.
fn read(directory: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(directory);
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 10, "{found:?}");
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_arrows_of_the_broker() {
    let mut wrong = Vec::new();
    for (file, source) in read("server/src") {
        for arrow in wrong_arrows(&file, &source) {
            wrong.push(format!("server/src/{file}: {arrow}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn broker_and_phones_are_strangers() {
    for (file, source) in read("device-sim/src") {
        let named = paths(&source)
            .iter()
            .any(|path| path[0] == "countersign_server");
        assert!(
            !named || file.starts_with("demo/") || file.starts_with("bench/"),
            "device-sim/src/{file} names the broker"
        );
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    assert!(manifest["dependencies"].get("tokio").is_some());
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let named = manifest
            .get(table)
            .and_then(|table| table.get("device-sim"));
        assert!(
            named.is_none(),
            "server/Cargo.toml: {table} names device-sim"
        );
    }
}

/// The check itself: what it must find, and what it must not.
#[test]
fn wrong_arrows_are_found() {
    for (file, source, wanted) in [
        (
            "domain/x.rs",
            "use crate::store::Store;",
            "domain names store",
        ),
        (
            "domain/x/y.rs",
            "fn f() { crate::broker::x(); }",
            "domain names broker",
        ),
        ("domain/mod.rs", "use super::api;", "domain names api"),
        (
            "domain/x.rs",
            "use super::super::delivery::Outcome;",
            "domain names delivery",
        ),
        (
            "domain/x.rs",
            "mod tests { use super::super::store; }",
            "domain names store",
        ),
        (
            "domain/x.rs",
            "use tokio::sync::Notify;",
            "domain names the crate tokio",
        ),
        (
            "domain/x.rs",
            "use v1::Challenge;",
            "domain names the message Challenge",
        ),
        (
            "domain/x.rs",
            "use countersign_proto::{signing, v1::{self, Challenge as C}};",
            "domain names the message Challenge",
        ),
        (
            "domain/x.rs",
            "use countersign_proto::v1::*;",
            "domain names the message *",
        ),
        (
            "domain/x.rs",
            "use countersign_proto::v1 as messages;",
            "domain names the message as",
        ),
        (
            "broker/x.rs",
            "use crate::{domain::Invalid, api::status};",
            "broker names api",
        ),
        (
            "broker/x.rs",
            "fn f() -> tonic::Status {}",
            "broker names the crate tonic",
        ),
        (
            "broker/x.rs",
            "type E = sled::Error;",
            "broker names the crate sled",
        ),
        (
            "store/x.rs",
            "use crate::delivery::Outcome;",
            "store names delivery",
        ),
        (
            "delivery/x.rs",
            "use crate::store::Store;",
            "delivery names store",
        ),
        (
            "delivery/apns/mod.rs",
            "use super::super::store;",
            "delivery names store",
        ),
        (
            "texts/x.rs",
            "use crate::store::Store;",
            "texts names store",
        ),
        (
            "delivery/x.rs",
            "use crate::texts::notice;",
            "delivery names texts",
        ),
        ("api/x.rs", "use crate::{store::Store};", "api names store"),
        ("api/x.rs", "use hyper;", "api names the crate hyper"),
        (
            "api/x.rs",
            "use reqwest as web;",
            "api names the crate reqwest",
        ),
        (
            "startup.rs",
            "let x = sled::open(p);",
            "startup names the crate sled",
        ),
        (
            "cli/x.rs",
            "/* // */ use device_sim::phone;",
            "cli names the crate device_sim",
        ),
        (
            "clock.rs",
            r##"const A: &str = r#"""#; use crate::broker::Broker;"##,
            "clock names broker",
        ),
        (
            "clock.rs",
            "const A: char = '\"'; use crate::broker::Broker;",
            "clock names broker",
        ),
    ] {
        let found = wrong_arrows(file, source);
        assert_eq!(found, [wanted], "{file}: {source}");
    }
    for (file, source) in [
        (
            "domain/x.rs",
            "//! store, sled::Db\n/* /* tokio::x */ sled::Db */ fn f() {}",
        ),
        (
            "domain/x.rs",
            r#"const A: &str = "crate::store::x"; use super::time::Timestamp;"#,
        ),
        ("domain/x.rs", r##"const A: &str = r#"use sled::"Db;"#;"##),
        (
            "domain/x.rs",
            "use v1::ChallengeBody; use crate::domain::ids;",
        ),
        (
            "domain/x/y.rs",
            "use super::super::time; use super::store_like;",
        ),
        (
            "broker/x.rs",
            "use crate::{clock::Clock, store::{Store, Hint}, delivery};",
        ),
        (
            "broker/x.rs",
            "let sled = 1; f(sled, 'a'); let hyper: &'static str;",
        ),
        ("store/x.rs", "use sled::Db; use super::engine;"),
        (
            "api/x.rs",
            "use tonic::{Request, Status}; use v1::Challenge;",
        ),
    ] {
        let found = wrong_arrows(file, source);
        assert!(found.is_empty(), "{file}: {source}: {found:?}");
    }
}
