//! `[push]`: the apps whose phones can be woken, and the gateways' addresses.

use std::path::{Path, PathBuf};

use aws_lc_rs::{
    rsa::KeyPair,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::{
    address::{base_address, is_loopback},
    section::{Located, Section, quoted},
};
use crate::delivery::{ApnsApp, FcmApp, PushConfig, PushEnvironment};

/// Pushes under way at a time, unless configured.
const MAX_IN_FLIGHT: usize = 500;

pub(super) fn read(mut section: Section<'_>) -> PushConfig {
    let mut push = PushConfig::default();
    for app in section.list("apns") {
        let source = app.source();
        let name = app.name("app_id");
        let app = apns(app);
        let same =
            |other: &ApnsApp| other.app_id == app.app_id && other.environment == app.environment;
        if !app.app_id.is_empty() && push.apns.iter().any(same) {
            section.fault_at(
                source,
                name,
                format!(
                    "{} is there twice for the same environment",
                    quoted(&app.app_id)
                ),
            );
        }
        push.apns.push(app);
    }
    for app in section.list("fcm") {
        let source = app.source();
        let name = app.name("project_id");
        let app = fcm(app);
        let same = |other: &FcmApp| other.project_id == app.project_id;
        if !app.project_id.is_empty() && push.fcm.iter().any(same) {
            section.fault_at(
                source,
                name,
                format!("{} is there twice", quoted(&app.project_id)),
            );
        }
        push.fcm.push(app);
    }
    section.finish();
    push
}

fn apns(mut section: Section<'_>) -> ApnsApp {
    let environments = [
        ("production", PushEnvironment::Production),
        ("sandbox", PushEnvironment::Sandbox),
    ];
    let app = ApnsApp {
        app_id: required_id(&mut section, "app_id"),
        environment: section
            .choice(
                "environment",
                "production",
                &environments,
                PushEnvironment::Production,
            )
            .value,
        team_id: required_id(&mut section, "team_id"),
        key_id: section
            .parsed("key_id", id)
            .map_or_else(String::new, |key_id| key_id.value),
        key_file: required_file(&mut section, "key_file", check_p8),
        url: url(&mut section, false),
        root_ca_file: root_ca(&mut section),
        max_in_flight: section.number_or("max_in_flight", MAX_IN_FLIGHT, 1..=10_000),
    };
    if !section.is_set("key_id")
        && !app.key_file.as_os_str().is_empty()
        && !names_key(&app.key_file)
    {
        section.fault(
            section.source(),
            "key_id",
            "is missing, and key_file does not lead to a file named AuthKey_<key id>.p8",
        );
    }
    section.finish();
    app
}

fn fcm(mut section: Section<'_>) -> FcmApp {
    let app = FcmApp {
        project_id: required_id(&mut section, "project_id"),
        service_account_file: required_file(
            &mut section,
            "service_account_file",
            check_service_account,
        ),
        url: url(&mut section, true),
        root_ca_file: root_ca(&mut section),
        max_in_flight: section.number_or("max_in_flight", MAX_IN_FLIGHT, 1..=10_000),
    };
    section.finish();
    app
}

/// A file that must be named, be there and pass `check`.
fn required_file(
    section: &mut Section<'_>,
    key: &'static str,
    check: impl FnOnce(&[u8]) -> Result<(), &'static str>,
) -> PathBuf {
    section.require(key);
    match section.path(key) {
        None => PathBuf::new(),
        Some(path) => {
            check_file(section, key, &path, check);
            path.value
        }
    }
}

pub(super) fn root_ca(section: &mut Section<'_>) -> Option<PathBuf> {
    let path = section.path("root_ca_file")?;
    check_file(section, "root_ca_file", &path, check_certificates);
    Some(path.value)
}

pub(super) fn check_file(
    section: &Section<'_>,
    key: &str,
    path: &Located<PathBuf>,
    check: impl FnOnce(&[u8]) -> Result<(), &'static str>,
) {
    let shown = path.value.display();
    let fault = match read_file(&path.value) {
        Err(error) => format!("cannot read {shown}: {error}"),
        Ok(content) => match check(&content) {
            Err(reason) => format!("{shown} is not {reason}"),
            Ok(()) => return,
        },
    };
    section.fault(path.source.clone(), key, fault);
}

fn read_file(path: &Path) -> std::io::Result<zeroize::Zeroizing<Vec<u8>>> {
    std::fs::read(path).map(Into::into)
}

/// Apple's `.p8`: a P-256 key as PKCS#8 PEM.
fn check_p8(content: &[u8]) -> Result<(), &'static str> {
    const WANTED: &str = "an APNs key (.p8: a P-256 private key as PKCS#8 PEM)";
    let key = PrivatePkcs8KeyDer::from_pem_slice(content).map_err(|_| WANTED)?;
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())
        .map_err(|_| WANTED)?;
    Ok(())
}

/// Google's key file, as far as it is used (RFC 7523 assertion).
fn check_service_account(content: &[u8]) -> Result<(), &'static str> {
    #[derive(serde::Deserialize)]
    struct ServiceAccount {
        client_email: String,
        private_key: String,
    }
    const WANTED: &str = "a service account key (JSON with client_email and an RSA private_key)";
    let account: ServiceAccount = serde_json::from_slice(content).map_err(|_| WANTED)?;
    let key =
        PrivatePkcs8KeyDer::from_pem_slice(account.private_key.as_bytes()).map_err(|_| WANTED)?;
    KeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| WANTED)?;
    if account.client_email.is_empty() {
        return Err(WANTED);
    }
    Ok(())
}

fn check_certificates(content: &[u8]) -> Result<(), &'static str> {
    const WANTED: &str = "a PEM file of certificates";
    let found: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(content)
        .collect::<Result<_, _>>()
        .map_err(|_| WANTED)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in found {
        roots.add(certificate).map_err(|_| WANTED)?;
    }
    if roots.is_empty() {
        return Err(WANTED);
    }
    Ok(())
}

/// Whether Apple's name of the file, links followed, tells the key's id.
fn names_key(path: &Path) -> bool {
    let real_path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real_path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix("AuthKey_")?.strip_suffix(".p8"))
        .is_some_and(|key_id| id(key_id).is_ok())
}

fn required_id(section: &mut Section<'_>, key: &'static str) -> String {
    section.require(key);
    section
        .parsed(key, id)
        .map_or_else(String::new, |id| id.value)
}

/// Ids of apps, teams, keys and projects stand in headers and paths.
fn id(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if text.len() <= 255 && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("must be letters, digits, dots, dashes, underscores and colons only".to_owned())
    }
}

/// A gateway's base address. Credentials go there: TLS, or loopback if
/// `plain_on_loopback`.
fn url(section: &mut Section<'_>, plain_on_loopback: bool) -> Option<String> {
    let wanted = if plain_on_loopback {
        "must be https://host[:port], or http on a loopback address"
    } else {
        "must be https://host[:port]"
    };
    let url = section.parsed("url", |text| {
        let text = base_address(text).map_err(|_| wanted.to_owned())?;
        let is_fit = text.starts_with("https://") || (plain_on_loopback && is_loopback(&text));
        if is_fit {
            Ok(text)
        } else {
            Err(wanted.to_owned())
        }
    })?;
    Some(url.value)
}
