#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{fs, path::Path};

use super::*;
use crate::{
    delivery::PushEnvironment,
    tls::{ClientCertificates, TlsFiles},
};

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let file = ConfigFile {
        name: "c.toml",
        text: toml,
    };
    let environment = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(Some(file), environment)
}

fn faults(toml: &str, environment: &[(&str, &str)]) -> Vec<String> {
    match load(toml, environment) {
        Ok(loaded) => panic!("accepted as {:?}", loaded.config),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn nothing_set_listens_on_loopback_in_plain() {
    let config = Config::load(None, []).unwrap().config;
    assert_eq!(config.data_dir, Path::new("countersign-data"));
    assert_eq!(
        config.master_key_file,
        Path::new("countersign-data/master.key")
    );
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:7700");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:7701");
    assert_eq!(config.grpc.tls, None);
    assert_eq!(config.push, PushConfig::default());
    let bound = "127.0.0.1:4321".parse().unwrap();
    assert_eq!(config.public_url_at(bound), "http://127.0.0.1:4321");
    assert_eq!(config.issuer_at(bound), "http://127.0.0.1:4321");
}

#[test]
fn the_environment_has_the_last_word() {
    let toml = "
        data_dir = '/from/file'
        public_url = 'https://a.example/'
        [grpc]
        listen = '127.0.0.1:1'
        [limits]
        max_connections = 5
    ";
    let environment = [
        ("COUNTERSIGN_DATA_DIR", "/from/environment"),
        ("COUNTERSIGN_GRPC__LISTEN", "[::1]:2"),
        ("COUNTERSIGN_HTTP__LISTEN", "127.0.0.1:0"),
        ("COUNTERSIGN_HTTP__ALLOW_PLAINTEXT_BEYOND_LOOPBACK", "true"),
        ("COUNTERSIGN_LIMITS__MAX_MESSAGE_BYTES", "4096"),
        ("COUNTERSIGN_LIMITS__DRAIN_TIMEOUT", "1m"),
        ("COUNTERSIGN_LOG__FORMAT", "json"),
        ("PATH", "/bin"),
    ];
    let loaded = load(toml, &environment).unwrap();
    let config = loaded.config;
    assert_eq!(config.data_dir, Path::new("/from/environment"));
    assert_eq!(
        config.master_key_file,
        Path::new("/from/environment/master.key")
    );
    assert_eq!(config.public_url.as_deref(), Some("https://a.example"));
    assert_eq!(config.issuer_at(config.grpc.listen), "https://a.example");
    assert_eq!(config.grpc.listen.to_string(), "[::1]:2");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:0");
    assert!(config.http.allow_plaintext_beyond_loopback);
    assert!(!config.grpc.allow_plaintext_beyond_loopback);
    assert_eq!(config.limits.max_connections, 5);
    assert_eq!(config.limits.max_message_bytes, 4096);
    assert_eq!(config.limits.drain_timeout, Duration::from_secs(60));
    assert_eq!(config.log.format, LogFormat::Json);

    let source = |key: &str| {
        let setting = loaded.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| format!("{} # {}", setting.value, setting.source))
    };
    assert_eq!(
        source("data_dir").unwrap(),
        "\"/from/environment\" # COUNTERSIGN_DATA_DIR"
    );
    assert_eq!(source("limits.max_connections").unwrap(), "5 # c.toml:7");
    assert_eq!(source("log.level").unwrap(), "\"info\" # default");
}

/// Variables of the command line and those that Kubernetes sets for a service
/// called `countersign` are no keys; everything else that begins so is.
#[test]
fn variables_that_are_no_keys() {
    let environment = [
        ("COUNTERSIGN_CONFIG", "x"),
        ("COUNTERSIGN_ADDRESS", "x"),
        ("COUNTERSIGN_ADMIN_KEY", "x"),
        ("COUNTERSIGN_API_KEY", "x"),
        ("COUNTERSIGN_PORT", "tcp://10.0.0.1:7700"),
        ("COUNTERSIGN_PORT_7700_TCP_ADDR", "10.0.0.1"),
        ("COUNTERSIGN_SERVICE_HOST", "10.0.0.1"),
        ("COUNTERSIGN_SERVICE_PORT_GRPC", "7700"),
        ("COUNTERSIGN_HTTP_SERVICE_PORT", "7701"),
        ("COUNTERSIGN_HTTP_PORT_7701_TCP", "tcp://10.0.0.1:7701"),
    ];
    load("", &environment).unwrap();
    assert_eq!(
        faults("", &[("COUNTERSIGN_DATADIR", "secret")]),
        ["COUNTERSIGN_DATADIR: datadir: unknown key, did you mean data_dir?"]
    );
    assert_eq!(
        faults("", &[("COUNTERSIGN_GRPC__PORT", "secret")]),
        ["COUNTERSIGN_GRPC__PORT: grpc.port: unknown key"]
    );
}

#[test]
fn each_fault_names_its_key_and_where_it_was_set() {
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
    );
    let cases: &[Case] = &[
        (
            "data_dir = ",
            &[],
            "c.toml:1: not valid TOML: string values must be quoted, expected literal string",
        ),
        (
            "data_dri = 'x'",
            &[],
            "c.toml:1: data_dri: unknown key, did you mean data_dir?",
        ),
        (
            "\n[grcp]\nlisten = 'x'",
            &[],
            "c.toml:2: grcp: unknown key, did you mean grpc?",
        ),
        (
            "data_dir = 3",
            &[],
            "c.toml:1: data_dir: must be a string, not an integer",
        ),
        (
            "data_dir = ''",
            &[],
            "c.toml:1: data_dir: must not be empty",
        ),
        (
            "",
            &[("COUNTERSIGN_DATA_DIR", " ")],
            "COUNTERSIGN_DATA_DIR: data_dir: must not be empty",
        ),
        (
            "",
            &[("COUNTERSIGN_DATA_DIR", "a\nb")],
            "COUNTERSIGN_DATA_DIR: data_dir: must be a single line without control characters",
        ),
        (
            "",
            &[("COUNTERSIGN_MASTER_KEY_FILE", "-----BEGIN PRIVATE KEY-----")],
            "COUNTERSIGN_MASTER_KEY_FILE: master_key_file: must be the path of a file, not what is in it",
        ),
        (
            "grpc = 3",
            &[],
            "c.toml:1: grpc: must be a table, not an integer",
        ),
        (
            "",
            &[("COUNTERSIGN_GRPC", "x")],
            "COUNTERSIGN_GRPC: grpc: must be a table, not a string",
        ),
        (
            "[grpc]\nlisten = 'localhost'",
            &[],
            "c.toml:2: grpc.listen: must be an IP address and a port such as 127.0.0.1:7700, not \"localhost\"",
        ),
        (
            "[http]\nlisten = '192.0.2.1:80'",
            &[],
            "c.toml:2: http.listen: \"192.0.2.1:80\" can be reached from other machines and needs TLS: set http.tls.certificate_file and http.tls.key_file, or http.allow_plaintext_beyond_loopback = true where something in front speaks TLS",
        ),
        (
            "public_url = 'https://a.example'\n[grpc]\nlisten = '[::]:7700'",
            &[],
            "c.toml:3: grpc.listen: \"[::]:7700\" can be reached from other machines and needs TLS: set grpc.tls.certificate_file and grpc.tls.key_file, or grpc.allow_plaintext_beyond_loopback = true where something in front speaks TLS",
        ),
        (
            "[grpc]\nlisten = '0.0.0.0:7700'\nallow_plaintext_beyond_loopback = true",
            &[],
            "c.toml:2: public_url: is missing: grpc.listen = \"0.0.0.0:7700\" is not an address that phones can reach",
        ),
        (
            "[grpc]\nallow_plaintext_beyond_loopback = 'yes'",
            &[],
            "c.toml:2: grpc.allow_plaintext_beyond_loopback: must be true or false, not a string",
        ),
        (
            "",
            &[("COUNTERSIGN_GRPC__ALLOW_PLAINTEXT_BEYOND_LOOPBACK", "yes")],
            "COUNTERSIGN_GRPC__ALLOW_PLAINTEXT_BEYOND_LOOPBACK: grpc.allow_plaintext_beyond_loopback: must be true or false",
        ),
        (
            "[grpc.tls]\ncertificate_file = 'x'",
            &[],
            "c.toml:2: grpc.tls.certificate_file: needs key_file too",
        ),
        (
            "[grpc.tls]\nkey_file = 'x'",
            &[],
            "c.toml:2: grpc.tls.key_file: needs certificate_file too",
        ),
        (
            "[http.tls]\nclient_ca_file = 'x'",
            &[],
            "c.toml:2: http.tls.client_ca_file: unknown key",
        ),
        (
            "[grpc.tls]\nclient_ca_file = 'x'",
            &[],
            "c.toml:2: grpc.tls.client_ca_file: has no effect while client_certificates is \"off\"",
        ),
        (
            "public_url = 'ftp://x'",
            &[],
            "c.toml:1: public_url: must be an address such as https://approve.example.com:7700",
        ),
        (
            "public_url = 'https://u:secret@x'",
            &[],
            "c.toml:1: public_url: must be an address such as https://approve.example.com:7700, without a user name",
        ),
        (
            "public_url = 'https://x/y'",
            &[],
            "c.toml:1: public_url: must be an address such as https://approve.example.com:7700, without a path",
        ),
        (
            "public_url = 'http://a.example:7700'",
            &[],
            "c.toml:1: public_url: must begin with https:// beyond loopback, unless grpc.allow_plaintext_beyond_loopback = true is set",
        ),
        (
            "[log]\nlevel = 'inof'",
            &[],
            "c.toml:2: log.level: must be off, error, warn, info, debug, trace or a filter such as info,h2=warn",
        ),
        (
            "[log]\nformat = 'xml'",
            &[],
            "c.toml:2: log.format: must be one of \"text\", \"json\", not \"xml\"",
        ),
        (
            "[limits]\nmax_connections = 0",
            &[],
            "c.toml:2: limits.max_connections: must be a whole number from 1 to 1000000",
        ),
        (
            "[limits]\nmax_connections = 1.5",
            &[],
            "c.toml:2: limits.max_connections: must be a whole number, not a float",
        ),
        (
            "[limits]\nmax_message_bytes = -1",
            &[],
            "c.toml:2: limits.max_message_bytes: must be a whole number from 4096 to 4194304",
        ),
        (
            "",
            &[("COUNTERSIGN_LIMITS__MAX_CONNECTIONS", "many")],
            "COUNTERSIGN_LIMITS__MAX_CONNECTIONS: limits.max_connections: must be a whole number from 1 to 1000000",
        ),
        (
            "[limits]\ndrain_timeout = 30",
            &[],
            "c.toml:2: limits.drain_timeout: must be a string, not an integer",
        ),
        (
            "[limits]\ndrain_timeout = '30'",
            &[],
            "c.toml:2: limits.drain_timeout: must be a time span such as 500ms, 30s, 5m, 1h or 30d, from 0s to 10m, not \"30\"",
        ),
        (
            "[limits]\nrequest_timeout = '6m'",
            &[],
            "c.toml:2: limits.request_timeout: must be a time span such as 500ms, 30s, 5m, 1h or 30d, from 1s to 5m, not \"6m\"",
        ),
        (
            "[push]\napns = 'x'",
            &[],
            "c.toml:2: push.apns: must be an array of tables, not a string",
        ),
        (
            "[push]\nfcm = ['x']",
            &[],
            "c.toml:2: push.fcm.0: must be a table, not a string",
        ),
        (
            "",
            &[("COUNTERSIGN_PUSH__FCM__1__PROJECT_ID", "x")],
            "COUNTERSIGN_PUSH__FCM__1__PROJECT_ID: push.fcm: element 1 without element 0",
        ),
        (
            "",
            &[("COUNTERSIGN_PUSH__FCM__X__PROJECT_ID", "x")],
            "COUNTERSIGN_PUSH__FCM__X__PROJECT_ID: push.fcm: must be an array of tables, not a table",
        ),
    ];
    for (toml, environment, expected) in cases {
        assert_eq!(
            faults(toml, environment),
            [*expected],
            "{toml} {environment:?}"
        );
    }
}

#[test]
fn all_faults_are_reported_together() {
    let toml = "colour = 'red'\n[grpc]\nlisten = 'here'\n[limits]\nmax_connections = true\n";
    let environment = [("COUNTERSIGN_HTTP__LISTEN", "there")];
    assert_eq!(
        load(toml, &environment).unwrap_err().to_string(),
        "4 faults in the configuration
  c.toml:1: colour: unknown key
  c.toml:3: grpc.listen: must be an IP address and a port such as 127.0.0.1:7700, not \"here\"
  c.toml:5: limits.max_connections: must be a whole number, not a boolean
  COUNTERSIGN_HTTP__LISTEN: http.listen: must be an IP address and a port such as 127.0.0.1:7701, \
         not \"there\""
    );
}

#[test]
fn several_syntax_errors_are_reported_together() {
    let found = faults("data_dir = \nissuer == 'x'\n[log]\nformat = 'text'\n", &[]);
    assert!(
        found
            .iter()
            .any(|fault| fault.starts_with("c.toml:1: not valid TOML")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|fault| fault.starts_with("c.toml:2: not valid TOML")),
        "{found:?}"
    );
}

fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        dir.join(format!("{name}.crt")),
        dir.join(format!("{name}.key")),
    );
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

#[test]
fn tls_files_are_read_before_a_port_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path(), "a");
    let (_, other_key) = self::certificate(dir.path(), "b");
    let tls = |certificate: &Path, key: &Path, more: &str| {
        format!(
            "[grpc]\nlisten = '192.0.2.1:7700'\n[grpc.tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n{more}"
        )
    };
    let config = load(&tls(&certificate, &key, ""), &[]).unwrap().config;
    assert_eq!(
        config.public_url_at(config.grpc.listen),
        "https://192.0.2.1:7700"
    );
    assert_eq!(
        config.grpc.tls,
        Some(TlsFiles {
            certificate_file: certificate.clone(),
            key_file: key.clone(),
            client_ca_file: None,
            client_certificates: ClientCertificates::Off,
        })
    );
    let with_ca = format!("client_certificates = 'required'\nclient_ca_file = {certificate:?}");
    let config = load(&tls(&certificate, &key, &with_ca), &[])
        .unwrap()
        .config;
    let asked = config.grpc.tls.unwrap().client_certificates;
    assert_eq!(asked, ClientCertificates::Required);

    let absent = dir.path().join("absent");
    assert_eq!(
        faults(&tls(&absent, &key, ""), &[]),
        [format!(
            "c.toml:4: grpc.tls.certificate_file: cannot read {}: No such file or directory (os error 2)",
            absent.display()
        )]
    );
    assert_eq!(
        faults(&tls(&key, &key, ""), &[]),
        [format!(
            "c.toml:4: grpc.tls.certificate_file: no certificate in {}",
            key.display()
        )]
    );
    assert_eq!(
        faults(&tls(&certificate, &certificate, ""), &[]),
        [format!(
            "c.toml:5: grpc.tls.key_file: no unencrypted private key in {}",
            certificate.display()
        )]
    );
    let mixed = faults(&tls(&certificate, &other_key, ""), &[]);
    assert_eq!(mixed.len(), 1);
    assert!(
        mixed[0].starts_with("c.toml:5: grpc.tls.key_file: certificate "),
        "{mixed:?}"
    );
    assert_eq!(
        faults(
            &tls(&certificate, &key, "client_certificates = 'optional'"),
            &[]
        ),
        ["c.toml:6: grpc.tls.client_certificates: needs client_ca_file"]
    );
    let with_key_as_ca = format!("client_certificates = 'optional'\nclient_ca_file = {key:?}");
    assert_eq!(
        faults(&tls(&certificate, &key, &with_key_as_ca), &[]),
        [format!(
            "c.toml:7: grpc.tls.client_ca_file: no certificate in {}",
            key.display()
        )]
    );
}

#[test]
fn a_broken_key_file_is_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path(), "a");
    for content in [
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0 hidden\n",
        "-----BEGIN PRIVATE KEY-----\nhidden!\n-----END PRIVATE KEY-----\n",
        "-----BEGIN hidden\nc2VjcmV0\n",
    ] {
        fs::write(&key, content).unwrap();
        let toml = format!("[http.tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n");
        let found = faults(&toml, &[]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("c.toml:3: http.tls.key_file: "),
            "{found:?}"
        );
        assert!(
            !found[0].contains("hidden") && !found[0].contains("c2VjcmV0"),
            "{found:?}"
        );
    }
}

#[test]
fn apps_are_read_and_their_files_checked() {
    let dir = tempfile::tempdir().unwrap();
    let p8 = dir.path().join("AuthKey_K.p8");
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(&p8, p256.serialize_pem()).unwrap();
    let account = dir.path().join("account.json");
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let json = serde_json::json!({"client_email": "a@b", "private_key": rsa.serialize_pem()});
    fs::write(&account, json.to_string()).unwrap();

    let apns = |id: &str, key_file: &Path| {
        format!("[[push.apns]]\napp_id = '{id}'\nteam_id = 'T'\nkey_file = {key_file:?}\n")
    };
    let fcm = |id: &str, file: &Path| {
        format!("[[push.fcm]]\nproject_id = '{id}'\nservice_account_file = {file:?}\n")
    };
    let toml = [apns("a.b", &p8), fcm("p", &account)].concat();
    let environment = [
        ("COUNTERSIGN_PUSH__APNS__0__ENVIRONMENT", "sandbox"),
        ("COUNTERSIGN_PUSH__APNS__0__URL", "https://127.0.0.1:2197/"),
        ("COUNTERSIGN_PUSH__APNS__1__APP_ID", "a.b"),
        ("COUNTERSIGN_PUSH__APNS__1__TEAM_ID", "T"),
        ("COUNTERSIGN_PUSH__APNS__1__KEY_ID", "K2"),
        ("COUNTERSIGN_PUSH__APNS__1__KEY_FILE", p8.to_str().unwrap()),
        ("COUNTERSIGN_PUSH__FCM__0__URL", "http://[::1]:1"),
        ("COUNTERSIGN_PUSH__FCM__0__MAX_IN_FLIGHT", "7"),
    ];
    let push = load(&toml, &environment).unwrap().config.push;
    let seen: Vec<_> = push
        .apns
        .iter()
        .map(|app| (app.app_id.as_str(), app.environment, app.key_id.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("a.b", PushEnvironment::Sandbox, ""),
            ("a.b", PushEnvironment::Production, "K2")
        ]
    );
    assert_eq!(push.apns[0].url.as_deref(), Some("https://127.0.0.1:2197"));
    assert_eq!(push.fcm[0].url.as_deref(), Some("http://[::1]:1"));
    assert_eq!(push.fcm[0].max_in_flight, 7);

    let bad = dir.path().join("bad");
    fs::write(&bad, rsa.serialize_pem()).unwrap();
    assert_eq!(
        faults(&apns("a.b", &bad), &[]),
        [
            "c.toml:1: push.apns.0.key_id: is missing, and key_file does not lead to a file named AuthKey_<key id>.p8".to_owned(),
            format!("c.toml:4: push.apns.0.key_file: {} is not an APNs key (.p8: a P-256 private key as PKCS#8 PEM)", bad.display()),
        ]
    );
    assert_eq!(
        faults(&fcm("p", &bad), &[]),
        [format!(
            "c.toml:3: push.fcm.0.service_account_file: {} is not a service account key (JSON with client_email and an RSA private_key)",
            bad.display()
        )]
    );
    let more = format!("url = 'http://127.0.0.1:1'\nroot_ca_file = {bad:?}\nkey_id = 'a/b'\n");
    assert_eq!(
        faults(&[apns("a.b", &p8), more].concat(), &[]),
        [
            "c.toml:5: push.apns.0.url: must be https://host[:port]".to_owned(),
            format!("c.toml:6: push.apns.0.root_ca_file: {} is not a PEM file of certificates", bad.display()),
            "c.toml:7: push.apns.0.key_id: must be letters, digits, dots, dashes, underscores and colons only".to_owned(),
        ]
    );
    assert_eq!(
        faults(&[fcm("p", &account), fcm("p", &account)].concat(), &[]),
        ["c.toml:4: push.fcm.1.project_id: \"p\" is there twice"]
    );
    assert_eq!(
        faults(&[apns("x", &p8), apns("x", &p8)].concat(), &[]),
        ["c.toml:5: push.apns.1.app_id: \"x\" is there twice for the same environment"]
    );
}

/// The example names every key: with all of its comments taken off, nothing
/// is unknown, and nothing but the files is missing.
#[test]
fn the_example_is_complete_and_true() {
    let example = include_str!("../../../deploy/countersign.example.toml");
    load(example, &[]).unwrap();
    let is_setting = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.starts_with("[[") || (key != line && !key.contains(' '))
    };
    let full: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if is_setting(setting) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    for fault in load(&full, &[]).unwrap_err().iter() {
        let is_about_files =
            fault.message.starts_with("cannot read") || fault.message.starts_with("has no effect");
        assert!(is_about_files, "{fault}");
    }
    for setting in Config::load(None, []).unwrap().settings {
        let key = setting.key.rsplit('.').next().unwrap();
        if setting.key == "public_url" || setting.key == "issuer" {
            continue;
        }
        let line = match key {
            // It depends on the machine.
            "max_store_cache_bytes" => format!("\n#{key} = 536870912\n"),
            _ => format!("\n#{key} = {}\n", setting.value),
        };
        assert!(example.contains(&line), "{line}");
    }
}

#[test]
fn sms_gateways_are_read_in_order_and_their_faults_named() {
    use crate::delivery::sms::SmsGatewayKind;

    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "hidden\n").unwrap();
    let toml = format!(
        "[sms]
        callback_url = 'https://a.example:7701/'
        [[sms.gateways]]
        name = 'hook'
        kind = 'webhook'
        url = 'https://h.example/?to={{to}}&t={{text}}'
        headers = {{ X-Key = '{{secret}}', Authorization = 'Bearer {{secret}}' }}
        secret_file = {secret:?}
        status_failed = 'a, b'
        [[sms.gateways]]
        name = 'smsc'
        kind = 'smpp'
        address = '127.0.0.1:2775'
        system_id = 'me'
        password_file = {secret:?}
        "
    );
    let environment = [
        ("COUNTERSIGN_SMS__GATEWAYS__0__HEADERS__X_MORE", "b"),
        ("COUNTERSIGN_SMS__GATEWAYS__1__SOURCE_TON", "5"),
    ];
    let loaded = load(&toml, &environment).unwrap();
    let sms = loaded.config.sms;
    assert_eq!(sms.callback_url.as_deref(), Some("https://a.example:7701"));
    let SmsGatewayKind::Webhook(webhook) = &sms.gateways[0].kind else {
        panic!("{sms:?}");
    };
    let headers: Vec<_> = webhook
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(headers, ["Authorization", "X-Key", "x-more"]);
    assert_eq!(webhook.status.failed, ["a", "b"]);
    assert_eq!(webhook.status.delivered, ["1"]);
    assert_eq!(sms.gateways[0].max_in_flight, 50);
    let SmsGatewayKind::Smpp(smpp) = &sms.gateways[1].kind else {
        panic!("{sms:?}");
    };
    assert_eq!((smpp.source_ton, smpp.source_npi), (Some(5), None));
    assert_eq!(sms.gateways[1].max_in_flight, 10);
    let shown = |key: &str| loaded.settings.iter().any(|setting| setting.key == key);
    assert!(shown("sms.gateways.0.headers.X-Key"));
    assert!(!format!("{:?}", loaded.settings).contains("hidden"));

    let one = |more: &str| faults(&format!("[[sms.gateways]]\n{more}"), &[]);
    assert_eq!(
        one("name = 'a'"),
        ["c.toml:1: sms.gateways.0.kind: is missing"]
    );
    assert_eq!(
        one("name = 'a'\nkind = 'fax'"),
        [
            "c.toml:3: sms.gateways.0.kind: must be one of \"webhook\", \"twilio\", \"smpp\", not \"fax\""
        ]
    );
    assert_eq!(
        one("kind = 'smpp'\nadress = 'h:1'"),
        [
            "c.toml:1: sms.gateways.0.address: is missing",
            "c.toml:1: sms.gateways.0.name: is missing",
            "c.toml:1: sms.gateways.0.password_file: is missing",
            "c.toml:1: sms.gateways.0.system_id: is missing",
            "c.toml:3: sms.gateways.0.adress: unknown key, did you mean sms.gateways.0.address?",
        ]
    );
    let smpp = format!(
        "name = 'B'\nkind = 'smpp'\nsystem_id = 'x'\npassword_file = {secret:?}\naddress = '10.0.0.1:1'"
    );
    assert_eq!(
        one(&smpp),
        [
            "c.toml:2: sms.gateways.0.name: must be 1 to 32 small letters, digits and dashes",
            "c.toml:6: sms.gateways.0.address: is beyond loopback: set tls = true, or allow_plaintext = true",
        ]
    );
    let twilio = format!("kind = 'twilio'\naccount_sid = 'AC1'\nauth_token_file = {secret:?}\n");
    let twice = format!(
        "name = 'a'\nfrom = 'x'\n{twilio}[[sms.gateways]]\nname = 'a'\nfrom = 'x'\n{twilio}"
    );
    assert_eq!(
        one(&twice),
        ["c.toml:7: sms.gateways.1.name: \"a\" is there twice"]
    );
    fs::write(&secret, "").unwrap();
    assert_eq!(
        one(&format!("name = 'a'\nfrom = 'x'\n{twilio}")),
        [format!(
            "c.toml:6: sms.gateways.0.auth_token_file: {} is not one line of text",
            secret.display()
        )]
    );
    assert_eq!(
        faults("[sms]\ncallback_url = 'http://a.example'", &[]),
        [
            "c.toml:2: sms.callback_url: must begin with https:// beyond loopback, unless http.allow_plaintext_beyond_loopback = true is set"
        ]
    );
}
