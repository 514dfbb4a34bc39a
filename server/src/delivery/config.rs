//! The `[push]` part of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PushEnvironment;

/// APNs for apps from the store (Apple, "Sending notification requests to APNs").
const APNS_PRODUCTION: &str = "https://api.push.apple.com";
/// APNs for development builds (same source).
const APNS_SANDBOX: &str = "https://api.sandbox.push.apple.com";
/// FCM HTTP v1 (Firebase REST reference, `projects.messages.send`).
const FCM: &str = "https://fcm.googleapis.com";

/// Pushes in flight at once, unless configured. APNs lets some 1000 streams run
/// on a connection; half of that fills it without queueing inside it.
const MAX_IN_FLIGHT: usize = 500;

/// The apps that pushes can be sent to. None at all is allowed: phones are then
/// reached over `Subscribe` only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// iOS apps.
    pub apns: Vec<ApnsApp>,
    /// Firebase projects.
    pub fcm: Vec<FcmApp>,
}

/// An iOS app in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApnsApp {
    /// The app's bundle id, which is its topic.
    pub app_id: String,
    /// `production` (default) or `sandbox`.
    #[serde(default)]
    pub environment: PushEnvironment,
    /// Apple's id of the developer team, 10 characters.
    pub team_id: String,
    /// Apple's id of the key, 10 characters. Left out: taken from the name of
    /// the file that `key_file` leads to, as Apple names it (`AuthKey_<id>.p8`),
    /// so that a link can be pointed at a new key while running.
    #[serde(default)]
    pub key_id: String,
    /// The `.p8` file: a P-256 private key in PKCS#8 PEM. Read again when it changes.
    pub key_file: PathBuf,
    /// Base URL instead of Apple's, `https://host[:port]`.
    #[serde(default)]
    pub url: Option<String>,
    /// PEM file of the only certificates to trust, instead of the system's.
    #[serde(default)]
    pub root_ca_file: Option<PathBuf>,
    /// Pushes in flight at once, 1 to 10000. Apps with the same key share the
    /// largest of theirs.
    #[serde(default = "max_in_flight")]
    pub max_in_flight: usize,
}

/// A Firebase project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FcmApp {
    /// The Firebase project id.
    pub project_id: String,
    /// Google's JSON file of the service account. Read again when it changes.
    pub service_account_file: PathBuf,
    /// Base URL instead of Google's, `https://host[:port]`; plain `http` on
    /// loopback only. Where access tokens come from stands in the file.
    #[serde(default)]
    pub url: Option<String>,
    /// PEM file of the only certificates to trust, instead of the system's.
    #[serde(default)]
    pub root_ca_file: Option<PathBuf>,
    /// Pushes in flight at once, 1 to 10000.
    #[serde(default = "max_in_flight")]
    pub max_in_flight: usize,
}

fn max_in_flight() -> usize {
    MAX_IN_FLIGHT
}

impl ApnsApp {
    /// The base URL in force, without a slash at the end.
    pub(super) fn base_url(&self) -> &str {
        let default = match self.environment {
            PushEnvironment::Production => APNS_PRODUCTION,
            PushEnvironment::Sandbox => APNS_SANDBOX,
        };
        self.url.as_deref().unwrap_or(default).trim_end_matches('/')
    }
}

impl FcmApp {
    /// The base URL in force, without a slash at the end.
    pub(super) fn base_url(&self) -> &str {
        self.url.as_deref().unwrap_or(FCM).trim_end_matches('/')
    }
}

impl PushConfig {
    /// Everything wrong with it that shows without opening a file, each with
    /// the key it stands under, e.g. `apns[0].team_id: must not be empty`.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (i, app) in self.apns.iter().enumerate() {
            let mut fault = |key: &str, text: &str| faults.push(format!("apns[{i}].{key}: {text}"));
            if !is_name(&app.app_id) {
                fault("app_id", "must be a bundle id");
            }
            if !is_name(&app.team_id) {
                fault("team_id", "must be an id of Apple's");
            }
            if !app.key_id.is_empty() && !is_name(&app.key_id) {
                fault("key_id", "must be an id of Apple's");
            }
            if !secure_url(app.base_url(), false) {
                fault("url", "must be https://host[:port]");
            }
            if !(1..=10_000).contains(&app.max_in_flight) {
                fault("max_in_flight", "must be 1 to 10000");
            }
            if !seen.insert((&app.app_id, Some(app.environment))) {
                fault("app_id", "is configured twice in this environment");
            }
        }
        for (i, app) in self.fcm.iter().enumerate() {
            let mut fault = |key: &str, text: &str| faults.push(format!("fcm[{i}].{key}: {text}"));
            if !is_name(&app.project_id) {
                fault("project_id", "must be a Firebase project id");
            }
            if !secure_url(app.base_url(), true) {
                fault(
                    "url",
                    "must be https://host[:port], or http on a loopback address",
                );
            }
            if !(1..=10_000).contains(&app.max_in_flight) {
                fault("max_in_flight", "must be 1 to 10000");
            }
            if !seen.insert((&app.project_id, None)) {
                fault("project_id", "is configured twice");
            }
        }
        faults
    }
}

/// Ids of apps, teams, keys and projects: what can stand in a header and a path.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'))
}

/// Whether credentials may be sent to `url`: TLS, or a loopback address if
/// `plain_on_loopback`. Neither query nor user info.
pub(super) fn secure_url(url: &str, plain_on_loopback: bool) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    if uri.query().is_some() || authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    scheme == "https" || (scheme == "http" && plain_on_loopback && loopback)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_least_configuration_fills_in_the_rest() {
        let config: PushConfig = toml::from_str(
            r#"
            [[apns]]
            app_id = "be.example.approve"
            team_id = "TEAM123456"
            key_id = "KEY1234567"
            key_file = "/etc/countersign/apns.p8"
            [[apns]]
            app_id = "be.example.approve"
            environment = "sandbox"
            team_id = "TEAM123456"
            key_file = "/etc/countersign/AuthKey_KEY1234567.p8"
            [[fcm]]
            project_id = "approve-1"
            service_account_file = "/etc/countersign/fcm.json"
            "#,
        )
        .unwrap();
        assert_eq!(config.faults(), Vec::<String>::new());
        let urls: Vec<_> = config.apns.iter().map(ApnsApp::base_url).collect();
        assert_eq!(urls, [APNS_PRODUCTION, APNS_SANDBOX]);
        assert_eq!(config.fcm.first().unwrap().base_url(), FCM);
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<PushConfig>("apsn = []").is_err());
        assert!(
            toml::from_str::<PushConfig>(
                "[[fcm]]\nproject_id='p'\nservice_account_file='f'\ntopic='x'"
            )
            .is_err()
        );
    }

    #[test]
    fn all_faults_are_named_together() {
        let app = FcmApp {
            project_id: "p/../q".into(),
            service_account_file: "f".into(),
            url: Some("http://fcm.example".into()),
            root_ca_file: None,
            max_in_flight: 0,
        };
        let config = PushConfig {
            apns: Vec::new(),
            fcm: vec![app.clone(), app],
        };
        let faults = config.faults();
        assert_eq!(faults.len(), 7, "{faults:?}");
        assert!(
            faults
                .iter()
                .any(|f| f.starts_with("fcm[1].project_id: is"))
        );
    }

    #[test]
    fn credentials_go_over_tls_or_stay_on_this_machine() {
        assert!(secure_url("https://api.push.apple.com", false));
        assert!(secure_url("http://127.0.0.1:9000", true));
        assert!(secure_url("http://[::1]:9000", true));
        assert!(!secure_url("http://127.0.0.1:9000", false));
        assert!(!secure_url("http://10.0.0.1:9000", true));
        assert!(!secure_url("https://user@host", true));
        assert!(!secure_url("host:443", true));
    }
}
