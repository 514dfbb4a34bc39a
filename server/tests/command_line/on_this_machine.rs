//! The broker and its files on this machine.

use std::{net::SocketAddr, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::{countersign, lines, parts};

#[tokio::test]
async fn a_faulty_configuration_ends_with_78_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "colour = 1\n[grpc]\nlisten = '0.0.0.0:0'\n").unwrap();
    for name in ["serve", "init", "check-config"] {
        let mut command = countersign(&[name, "--config", "c.toml"]);
        command
            .current_dir(dir.path())
            .env("COUNTERSIGN_HTTP__LISTEN", "x");
        let (code, stdout, stderr) = parts(command.output().await.unwrap());
        assert_eq!((code, stdout.as_str()), (78, ""), "{name}");
        let mut told = stderr.lines();
        assert_eq!(
            told.next(),
            Some("countersign: 4 faults in the configuration")
        );
        for start in [
            "  c.toml:1: colour: unknown key",
            "  c.toml:3: grpc.listen: ",
            "  c.toml:3: public_url: ",
            "  COUNTERSIGN_HTTP__LISTEN: http.listen: ",
        ] {
            assert!(told.next().unwrap().starts_with(start), "{stderr}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let absent = countersign(&["serve", "--config", "/absent.toml"]).output();
    let (code, _, stderr) = parts(absent.await.unwrap());
    let expected =
        "countersign: cannot read /absent.toml: No such file or directory (os error 2)\n";
    assert_eq!((code, stderr.as_str()), (78, expected));
}

#[tokio::test]
async fn check_config_prints_what_is_in_force_and_where_it_was_set() {
    let mut command = countersign(&["check-config", "--json"]);
    command.env("COUNTERSIGN_GRPC__LISTEN", "[::1]:9");
    let (code, stdout, _) = parts(command.output().await.unwrap());
    assert_eq!(code, 0);
    let printed = lines(&stdout);
    for expected in [
        json!({"key": "grpc.listen", "value": "[::1]:9", "source": "COUNTERSIGN_GRPC__LISTEN"}),
        json!({"key": "public_url", "value": "http://[::1]:9", "source": "default"}),
        json!({"key": "log.level", "value": "info", "source": "default"}),
        json!({"key": "limits.max_connections", "value": 8000, "source": "default"}),
    ] {
        assert!(printed.contains(&expected), "{expected}");
    }
}

#[tokio::test]
async fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = parts(countersign(&["completions", shell]).output().await.unwrap());
        assert_eq!(code, 0);
        assert!(script.contains("check-config"), "{shell}");
    }
    let (code, page, _) = parts(countersign(&["man"]).output().await.unwrap());
    assert_eq!(code, 0);
    assert!(page.contains(".TH countersign 1") && page.contains("Exit codes:"));
    let dir = tempfile::tempdir().unwrap();
    let mut command = countersign(&["man", "--out-dir"]);
    command.arg(dir.path());
    assert_eq!(parts(command.output().await.unwrap()).0, 0);
    for page in [
        "countersign.1",
        "countersign-serve.1",
        "countersign-key-create.1",
        "countersign-policy-set.1",
        "countersign-user-reset.1",
        "countersign-device-remove.1",
    ] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
}

#[tokio::test]
async fn serve_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["serve", "recover", "compact"] {
        let mut command = countersign(&[name]);
        command.env("COUNTERSIGN_DATA_DIR", dir.path());
        let (code, _, stderr) = parts(command.output().await.unwrap());
        assert_eq!(code, 1);
        assert!(stderr.contains("`countersign init` makes it"), "{stderr}");
    }
}

/// SIGTERM to a broker that has nothing to do: it says where it listens, ends
/// by itself and calls that success.
#[tokio::test]
async fn serve_ends_gracefully_at_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut init = countersign(&["init", "--json"]);
    init.env("COUNTERSIGN_DATA_DIR", dir.path().join("data"));
    let (code, stdout, stderr) = parts(init.output().await.unwrap());
    assert_eq!(code, 0, "{stderr}");
    let key = lines(&stdout)[0]["admin_key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("csk_"), "{key}");

    let mut serve = countersign(&["serve"])
        .env("COUNTERSIGN_DATA_DIR", dir.path().join("data"))
        .env("COUNTERSIGN_GRPC__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_HTTP__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_LOG__FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(serve.stderr.take().unwrap()).lines();
    let listening = loop {
        let line = log.next_line().await.unwrap().expect("it ended instead");
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["message"] == "listening" {
            break event;
        }
    };
    let grpc: SocketAddr = listening["grpc"].as_str().unwrap().parse().unwrap();
    assert_ne!(grpc.port(), 0);
    assert_eq!(
        listening["data_dir"],
        dir.path().join("data").to_str().unwrap()
    );
    assert_eq!(listening["issuer"], format!("http://{grpc}"));
    assert_eq!(listening["gateways"], "none");
    // Nothing is rewritten under a broker's feet.
    let compact = || {
        let mut compact = countersign(&["compact", "--json"]);
        compact.env("COUNTERSIGN_DATA_DIR", dir.path().join("data"));
        compact
    };
    let (code, _, stderr) = parts(compact().output().await.unwrap());
    assert_eq!(code, 1);
    let pid = serve.id().unwrap().to_string();
    assert!(
        stderr.contains(&format!("in use by process {pid}")),
        "{stderr}"
    );
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.await.unwrap().success());
    assert_eq!(serve.wait().await.unwrap().code(), Some(0));
    let (code, stdout, stderr) = parts(compact().output().await.unwrap());
    assert_eq!(code, 0, "{stderr}");
    let done = &lines(&stdout)[0];
    let (before, after) = (&done["bytes_before"], &done["bytes_after"]);
    assert!(after.as_u64().unwrap() <= before.as_u64().unwrap());
}
