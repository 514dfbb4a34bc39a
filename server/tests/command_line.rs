//! The binary as a person or a script meets it: its output, its exit codes and
//! what it asks of a broker. The broker's side is played here, so that only
//! the command line is under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};

use countersign_proto::v1::{
    admin_service_server::{AdminService, AdminServiceServer},
    enrollment_service_server::{EnrollmentService, EnrollmentServiceServer},
    *,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

const ADMIN_KEY: &str = "csk_admin_secret";
const IDP_KEY: &str = "csk_idp_secret";

fn countersign(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
fn parts(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Answers with fixed data, and remembers what was asked.
#[derive(Clone, Default)]
struct Played {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Played {
    fn note<T: std::fmt::Debug>(&self, key: &str, request: &Request<T>) -> Result<(), Status> {
        let bearer = request.metadata().get("authorization");
        if bearer.map(|value| value.as_bytes()) != Some(format!("Bearer {key}").as_bytes()) {
            return Err(Status::with_error_details(
                Code::Unauthenticated,
                "the api key is not valid",
                ErrorDetails::with_error_info("API_KEY_INVALID", "countersign", []),
            ));
        }
        let mut asked = self.asked.lock().unwrap();
        asked.push(format!("{:?}", request.get_ref()));
        Ok(())
    }

    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let played = self.clone();
        tokio::spawn(
            Server::builder()
                .add_service(AdminServiceServer::new(played.clone()))
                .add_service(EnrollmentServiceServer::new(played))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
        );
        format!("http://{address}")
    }
}

fn moment(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn tenant(tenant_id: &str, display_name: &str) -> Tenant {
    Tenant {
        tenant_id: tenant_id.to_owned(),
        display_name: display_name.to_owned(),
        policy: Some(TenantPolicy {
            number_matching: NumberMatching::Always.into(),
            number_digits: 2,
            challenge_ttl: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            pending_limit: PendingLimit::Supersede.into(),
            encrypted_prompts: true,
        }),
        create_time: moment(0),
    }
}

fn api_key(tenant_id: &str, role: Role) -> ApiKey {
    ApiKey {
        api_key_id: "k1".to_owned(),
        tenant_id: tenant_id.to_owned(),
        role: role.into(),
        display_name: "sign-in page".to_owned(),
        create_time: moment(0),
        revoke_time: None,
    }
}

fn signing_key(state: SigningKeyState) -> SigningKey {
    SigningKey {
        key_id: "thumb".to_owned(),
        public_key: vec![0xfb; 32].into(),
        state: state.into(),
        create_time: moment(0),
        activate_time: moment(86_400),
    }
}

#[tonic::async_trait]
impl AdminService for Played {
    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<CreateTenantResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let name = request.into_inner().display_name;
        if name.is_empty() {
            let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "countersign", []);
            details.add_bad_request_violation("display_name", "must be 1 to 128 bytes");
            let message = "the request is not valid";
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                message,
                details,
            ));
        }
        Ok(Response::new(CreateTenantResponse {
            tenant: Some(tenant("t1", &name)),
        }))
    }

    async fn get_tenant(
        &self,
        request: Request<GetTenantRequest>,
    ) -> Result<Response<GetTenantResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(GetTenantResponse {
            tenant: Some(tenant(&request.into_inner().tenant_id, "Eagle")),
        }))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let (id, next) = match request.into_inner().page_token.as_str() {
            "" => ("t1", "more"),
            _ => ("t2", ""),
        };
        Ok(Response::new(ListTenantsResponse {
            tenants: vec![tenant(id, "Eagle\u{7}")],
            next_page_token: next.to_owned(),
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let request = request.into_inner();
        Ok(Response::new(CreateApiKeyResponse {
            api_key: "csk_k1_s".to_owned(),
            key: Some(api_key(&request.tenant_id, request.role())),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(ListApiKeysResponse {
            keys: vec![api_key("", Role::Admin)],
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<RevokeApiKeyResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(RevokeApiKeyResponse {
            key: Some(ApiKey {
                revoke_time: moment(1),
                ..api_key("t1", Role::Idp)
            }),
        }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(RotateSigningKeyResponse {
            key: Some(signing_key(SigningKeyState::Next)),
        }))
    }

    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(ListSigningKeysResponse {
            keys: vec![signing_key(SigningKeyState::Current)],
        }))
    }

    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let first = request.into_inner().page_token.is_empty();
        Ok(Response::new(ListAuditEntriesResponse {
            entries: vec![audit_entry(if first { 1 } else { 2 })],
            next_page_token: if first { "1.1" } else { "" }.to_owned(),
            resume_token: "1.2".to_owned(),
        }))
    }

    type WatchAuditStream =
        tokio_stream::wrappers::ReceiverStream<Result<WatchAuditResponse, Status>>;

    async fn watch_audit(
        &self,
        request: Request<WatchAuditRequest>,
    ) -> Result<Response<Self::WatchAuditStream>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let (send, answers) = tokio::sync::mpsc::channel(1);
        let answer = WatchAuditResponse {
            entries: vec![audit_entry(3)],
            resume_token: "1.3".to_owned(),
        };
        send.try_send(Ok(answer)).unwrap();
        Ok(Response::new(answers.into()))
    }

    type ExportAuditStream =
        tokio_stream::wrappers::ReceiverStream<Result<ExportAuditResponse, Status>>;

    async fn export_audit(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        self.note(ADMIN_KEY, &request)?;
        // Ends without a seal.
        let (_, answers) = tokio::sync::mpsc::channel(1);
        Ok(Response::new(answers.into()))
    }
}

fn audit_entry(sequence: u64) -> AuditEntry {
    AuditEntry {
        writer: 1,
        sequence,
        time: moment(i64::try_from(sequence).unwrap()),
        actor: "broker".to_owned(),
        action: "challenge.decided".to_owned(),
        object: format!("object {sequence}"),
        user_id: "tom\u{1b}[31m".to_owned(),
        ..AuditEntry::default()
    }
}

#[tokio::test]
async fn the_audit_trail_is_listed_and_followed() {
    let played = Played::default();
    let address = played.serve().await;
    let run = |arguments: &'static [&'static str]| {
        let mut command = countersign(arguments);
        command
            .env("COUNTERSIGN_ADDRESS", &address)
            .env("COUNTERSIGN_ADMIN_KEY", ADMIN_KEY);
        async move { parts(command.output().await.unwrap()) }
    };
    let (code, stdout, _) = run(&["audit", "list", "--follow", "--limit", "1", "--json"]).await;
    assert_eq!(code, 0);
    let objects: Vec<_> = lines(&stdout)
        .iter()
        .map(|line| line["object"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(objects, ["object 2", "object 3"]);
    let asked = played.asked.lock().unwrap().clone();
    assert!(asked[2].contains("resume_token: \"1.2\""), "{asked:?}");
    let filter = ["audit", "list", "--follow", "--object", "object 2"];
    let (code, stdout, _) = run(Box::leak(Box::new(filter))).await;
    assert_eq!(code, 0);
    assert!(
        stdout.contains("object 2") && !stdout.contains("object 3"),
        "{stdout}"
    );
    assert!(!stdout.contains('\u{1b}'), "{stdout}");
    let (code, _, stderr) = run(&["audit", "export"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("incomplete"), "{stderr}");
    let (code, _, stderr) = run(&["audit", "verify", "/nowhere"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read /nowhere"), "{stderr}");
}

#[tonic::async_trait]
impl EnrollmentService for Played {
    async fn create_enrollment(
        &self,
        request: Request<CreateEnrollmentRequest>,
    ) -> Result<Response<CreateEnrollmentResponse>, Status> {
        self.note(IDP_KEY, &request)?;
        Ok(Response::new(CreateEnrollmentResponse {
            enrollment_id: request.into_inner().user_id,
            enrollment_uri: "countersign://enroll?t=1".to_owned(),
            manual_code: "AAAA-BBBB-CCCC-DDDD".to_owned(),
            qr_svg: String::new(),
            expire_time: moment(600),
        }))
    }

    /// First open, then the end that the user's name asks for.
    async fn wait_enrollment(
        &self,
        request: Request<WaitEnrollmentRequest>,
    ) -> Result<Response<WaitEnrollmentResponse>, Status> {
        self.note(IDP_KEY, &request)?;
        let name = request.into_inner().enrollment_id;
        let waits = self.asked.lock().unwrap().len() - 1;
        if waits == 2 {
            return Err(Status::unavailable("restarting"));
        }
        let state = match (waits, name.as_str()) {
            (1, _) => EnrollmentState::Open,
            (_, "late") => EnrollmentState::Expired,
            _ => EnrollmentState::Redeemed,
        };
        Ok(Response::new(WaitEnrollmentResponse {
            state: state.into(),
            authenticator: (state == EnrollmentState::Redeemed).then(|| Authenticator {
                authenticator_id: "d1".to_owned(),
                create_time: moment(0),
                last_used_time: None,
                kind: Some(authenticator::Kind::Device(Device {
                    display_name: "Tom's iPhone".to_owned(),
                    platform: Platform::Ios.into(),
                    ..Device::default()
                })),
            }),
        }))
    }

    async fn list_authenticators(
        &self,
        _: Request<ListAuthenticatorsRequest>,
    ) -> Result<Response<ListAuthenticatorsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn remove_authenticator(
        &self,
        _: Request<RemoveAuthenticatorRequest>,
    ) -> Result<Response<RemoveAuthenticatorResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test]
async fn operators_commands_ask_the_broker_and_print_json() {
    let cases: &[(&[&str], &str, Vec<Value>)] = &[
        (
            &[
                "tenant",
                "create",
                "Eagle",
                "--number-matching",
                "off",
                "--challenge-ttl",
                "90s",
                "--encrypted-prompts",
            ],
            "CreateTenantRequest { display_name: \"Eagle\", policy: Some(TenantPolicy { number_matching: Off, number_digits: 0, challenge_ttl: Some(Duration { seconds: 90, nanos: 0 }), pending_limit: Unspecified, encrypted_prompts: true }) }",
            vec![json!({
                "tenant_id": "t1", "display_name": "Eagle", "create_time": "1970-01-01T00:00:00Z",
                "policy": {"number_matching": "always", "number_digits": 2, "challenge_ttl": "60s", "pending_limit": "supersede", "encrypted_prompts": true},
            })],
        ),
        (
            &[
                "key", "create", "--tenant", "t1", "--role", "idp", "--name", "n",
            ],
            "CreateApiKeyRequest { tenant_id: \"t1\", role: Idp, display_name: \"n\" }",
            vec![json!({
                "api_key": "csk_k1_s", "api_key_id": "k1", "tenant_id": "t1", "role": "idp",
                "display_name": "sign-in page", "create_time": "1970-01-01T00:00:00Z", "revoke_time": null,
            })],
        ),
        (
            &["key", "list"],
            "ListApiKeysRequest { tenant_id: \"\" }",
            vec![json!({
                "api_key_id": "k1", "tenant_id": null, "role": "admin",
                "display_name": "sign-in page", "create_time": "1970-01-01T00:00:00Z", "revoke_time": null,
            })],
        ),
        (
            &["key", "revoke", "k1"],
            "RevokeApiKeyRequest { api_key_id: \"k1\" }",
            vec![json!({
                "api_key_id": "k1", "tenant_id": "t1", "role": "idp", "display_name": "sign-in page",
                "create_time": "1970-01-01T00:00:00Z", "revoke_time": "1970-01-01T00:00:01Z",
            })],
        ),
        (
            &["signing-key", "rotate", "--lead-time", "2h"],
            "RotateSigningKeyRequest { lead_time: Some(Duration { seconds: 7200, nanos: 0 }) }",
            vec![json!({
                "key_id": "thumb", "public_key": "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s",
                "state": "next", "create_time": "1970-01-01T00:00:00Z", "activate_time": "1970-01-02T00:00:00Z",
            })],
        ),
    ];
    for (arguments, asked, printed) in cases {
        let played = Played::default();
        let address = played.serve().await;
        let mut command = countersign(arguments);
        command.args(["--json", "--address", &address]);
        command.env("COUNTERSIGN_ADMIN_KEY", ADMIN_KEY);
        let (code, stdout, stderr) = parts(command.output().await.unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert_eq!(lines(&stdout), *printed, "{arguments:?}");
        assert_eq!(*played.asked.lock().unwrap(), [*asked]);
    }
}

#[tokio::test]
async fn without_json_there_are_tables_over_all_pages() {
    let address = Played::default().serve().await;
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, format!("{ADMIN_KEY}\n")).unwrap();
    let mut command = countersign(&["tenant", "list", "--admin-key-file"]);
    command.arg(&key_file).env("COUNTERSIGN_ADDRESS", &address);
    let (code, stdout, _) = parts(command.output().await.unwrap());
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "TENANT ID  NAME    CREATED\n\
         t1         Eagle\u{fffd}  1970-01-01T00:00:00Z\n\
         t2         Eagle\u{fffd}  1970-01-01T00:00:00Z\n"
    );
}

#[tokio::test]
async fn failures_are_one_sentence_and_an_exit_code() {
    let address = Played::default().serve().await;
    let unused: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let unused = format!("http://{unused}");
    // Hangs up on whoever comes, as a TLS port does on a plain client.
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs_up = format!("http://{}", rude.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(rude.accept().await);
        }
    });
    let create = &["tenant", "create", ""];
    type Case<'a> = (&'a [&'a str], &'a str, Option<&'a str>, i32, &'a str);
    let cases: &[Case<'_>] = &[
        (
            create,
            &address,
            Some(ADMIN_KEY),
            1,
            "countersign: the request is not valid; display_name: must be 1 to 128 bytes [FIELD_INVALID]\n",
        ),
        (
            create,
            &address,
            Some(IDP_KEY),
            77,
            "countersign: the api key is not valid [API_KEY_INVALID]\n",
        ),
        (
            create,
            &address,
            Some("wrong"),
            77,
            "countersign: COUNTERSIGN_ADMIN_KEY does not hold an API key (csk_<id>_<secret>)\n",
        ),
        (
            create,
            &address,
            None,
            77,
            "countersign: an API key is needed: set COUNTERSIGN_ADMIN_KEY or name a file by --admin-key-file\n",
        ),
        (
            create,
            "http://192.0.2.1:1",
            Some(ADMIN_KEY),
            2,
            "countersign: --address: must begin with https:// beyond loopback, unless --allow-plaintext-beyond-loopback is set\n",
        ),
        (
            &["tenant", "list", "--ca-file", "/dev/null"],
            &address,
            Some(ADMIN_KEY),
            2,
            "is plain, certificates need https://\n",
        ),
        (
            &["tenant", "list"],
            &unused,
            Some(ADMIN_KEY),
            69,
            "tcp connect error: Connection refused (os error 111)\n",
        ),
        (
            &["tenant", "list"],
            &hangs_up,
            Some(ADMIN_KEY),
            69,
            "; is it the gRPC port, and https:// if it speaks TLS?\n",
        ),
    ];
    for (arguments, address, key, expected, message) in cases {
        let mut command = countersign(arguments);
        command.env("COUNTERSIGN_ADDRESS", address);
        if let Some(key) = key {
            command.env("COUNTERSIGN_ADMIN_KEY", key);
        }
        let (code, stdout, stderr) = parts(command.output().await.unwrap());
        assert_eq!((code, stdout.as_str()), (*expected, ""), "{stderr}");
        assert!(stderr.ends_with(message), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
        assert!(key.is_none_or(|key| !stderr.contains(key)));
    }
}

#[tokio::test]
async fn enroll_shows_the_code_and_waits_for_the_phone() {
    let played = Played::default();
    let address = played.serve().await;
    let mut command = countersign(&["enroll", "tom", "--address", &address, "--ttl", "5m"]);
    command.env("COUNTERSIGN_API_KEY", IDP_KEY);
    let (code, stdout, stderr) = parts(command.output().await.unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("\u{1b}[30;107m"), "{stdout}");
    assert!(stdout.contains("Type this code: AAAA-BBBB-CCCC-DDDD\n"));
    assert!(stdout.contains("Good until 1970-01-01T00:10:00Z."));
    assert!(
        stdout.ends_with("\"Tom's iPhone\" (iOS) is registered for tom: authenticator id d1\n")
    );
    assert_eq!(
        *played.asked.lock().unwrap(),
        [
            "CreateEnrollmentRequest { user_id: \"tom\", ttl: Some(Duration { seconds: 300, nanos: 0 }) }",
            "WaitEnrollmentRequest { enrollment_id: \"tom\", timeout: Some(Duration { seconds: 30, nanos: 0 }) }",
            "WaitEnrollmentRequest { enrollment_id: \"tom\", timeout: Some(Duration { seconds: 30, nanos: 0 }) }",
            "WaitEnrollmentRequest { enrollment_id: \"tom\", timeout: Some(Duration { seconds: 30, nanos: 0 }) }",
        ]
    );
}

#[tokio::test]
async fn enroll_fails_when_the_ticket_dies_and_speaks_json() {
    let address = Played::default().serve().await;
    let mut command = countersign(&["enroll", "late", "--json", "--address", &address]);
    command.env("COUNTERSIGN_API_KEY", IDP_KEY);
    let (code, stdout, stderr) = parts(command.output().await.unwrap());
    assert_eq!(
        (code, stderr.as_str()),
        (1, "countersign: nobody used the code before it expired\n")
    );
    assert_eq!(
        lines(&stdout),
        [json!({
            "enrollment_id": "late", "enrollment_uri": "countersign://enroll?t=1",
            "manual_code": "AAAA-BBBB-CCCC-DDDD", "expire_time": "1970-01-01T00:10:00Z",
        })]
    );
}

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
        json!({"key": "grpc.listen", "value": "\"[::1]:9\"", "source": "COUNTERSIGN_GRPC__LISTEN"}),
        json!({"key": "public_url", "value": "\"http://[::1]:9\"", "source": "default"}),
        json!({"key": "log.level", "value": "\"info\"", "source": "default"}),
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
    ] {
        assert!(dir.path().join(page).exists(), "{page}");
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
    let pid = serve.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.await.unwrap().success());
    assert_eq!(serve.wait().await.unwrap().code(), Some(0));
}
