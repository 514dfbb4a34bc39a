//! `[push]`: the apps whose phones can be woken, and the gateways' addresses.

use std::path::{Path, PathBuf};

use aws_lc_rs::{
    rsa::KeyPair,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use http::Uri;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::section::{Located, Section, quoted};

/// `[push]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushConfig {
    /// `[[push.apns]]`
    pub apns: Vec<ApnsApp>,
    /// `[[push.fcm]]`
    pub fcm: Vec<FcmApp>,
}

/// The two worlds of APNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApnsEnvironment {
    /// Apps from the store: `api.push.apple.com`.
    Production,
    /// Development builds: `api.sandbox.push.apple.com`.
    Sandbox,
}

/// `[[push.apns]]`: one app in one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApnsApp {
    /// `app_id`: the bundle id, which is the topic.
    pub app_id: String,
    /// `environment`: `production` (default) or `sandbox`.
    pub environment: ApnsEnvironment,
    /// `team_id`: ten characters, from Apple.
    pub team_id: String,
    /// `key_id`: ten characters, from Apple.
    pub key_id: String,
    /// `key_file`: the `.p8` file.
    pub key_file: PathBuf,
    /// `url`: another address than Apple's, without a path.
    pub url: Option<String>,
    /// `root_ca_file`: what to trust there instead of the system's roots, PEM.
    pub root_ca_file: Option<PathBuf>,
    /// `max_in_flight`: pushes under way at a time. Default 500.
    pub max_in_flight: usize,
}

/// `[[push.fcm]]`: one Firebase project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FcmApp {
    /// `project_id`: the Firebase project.
    pub project_id: String,
    /// `service_account_file`: the JSON key file from Google.
    pub service_account_file: PathBuf,
    /// `url`: another address than Google's, without a path.
    pub url: Option<String>,
    /// `root_ca_file`: what to trust there instead of the system's roots, PEM.
    pub root_ca_file: Option<PathBuf>,
    /// `max_in_flight`: pushes under way at a time. Default 500.
    pub max_in_flight: usize,
}

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
        ("production", ApnsEnvironment::Production),
        ("sandbox", ApnsEnvironment::Sandbox),
    ];
    let app = ApnsApp {
        app_id: section.required_text("app_id").value,
        environment: section
            .choice(
                "environment",
                "production",
                &environments,
                ApnsEnvironment::Production,
            )
            .value,
        team_id: section.required_text("team_id").value,
        key_id: section.required_text("key_id").value,
        key_file: required_file(&mut section, "key_file", check_p8),
        url: section.parsed("url", gateway_url).map(|url| url.value),
        root_ca_file: root_ca(&mut section),
        max_in_flight: section.number_or("max_in_flight", 500, 1..=100_000),
    };
    section.finish();
    app
}

fn fcm(mut section: Section<'_>) -> FcmApp {
    let app = FcmApp {
        project_id: section.required_text("project_id").value,
        service_account_file: required_file(
            &mut section,
            "service_account_file",
            check_service_account,
        ),
        url: section.parsed("url", gateway_url).map(|url| url.value),
        root_ca_file: root_ca(&mut section),
        max_in_flight: section.number_or("max_in_flight", 500, 1..=100_000),
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
    match section.required_path(key) {
        None => PathBuf::new(),
        Some(path) => {
            check_file(section, key, &path, check);
            path.value
        }
    }
}

fn root_ca(section: &mut Section<'_>) -> Option<PathBuf> {
    let path = section.path("root_ca_file")?;
    check_file(section, "root_ca_file", &path, check_certificates);
    Some(path.value)
}

fn check_file(
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

fn gateway_url(text: &str) -> Result<String, String> {
    const WANTED: &str = "must be an address such as https://127.0.0.1:2197";
    let uri: Uri = text.parse().map_err(|_| WANTED.to_owned())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http
        || uri
            .authority()
            .is_none_or(|host| host.as_str().contains('@'))
    {
        return Err(WANTED.to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}
