//! A token endpoint and `messages:send` that answer what a script says.

use std::collections::HashMap;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::json;

use super::*;

type TokenScript = dyn Fn(usize) -> (u16, Value) + Send + Sync;
type SendScript = dyn Fn(usize, &str) -> (u16, Value) + Send + Sync;

pub(super) fn granted(n: usize) -> (u16, Value) {
    let token = format!("access-{n}");
    (
        200,
        json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}),
    )
}

pub(super) fn accepted() -> (u16, Value) {
    (200, json!({"name": "projects/be.example.app/messages/1"}))
}

pub(super) fn error(status: u16, general: &str, code: Option<&str>) -> (u16, Value) {
    let details: Vec<Value> = code
        .map(|code| {
            json!({
                "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
                "errorCode": code,
            })
        })
        .into_iter()
        .collect();
    let error = json!({"code": status, "message": "m", "status": general, "details": details});
    (status, json!({"error": error}))
}

struct Shared {
    on_token: Box<TokenScript>,
    on_send: Box<SendScript>,
    assertions: Mutex<Vec<String>>,
    sent: Mutex<Vec<(String, Value)>>,
}

pub(super) struct Server {
    dir: tempfile::TempDir,
    url: String,
    pub(super) public_key: String,
    shared: Arc<Shared>,
}

impl Server {
    /// `on_token` is given how many exchanges came before; `on_send` how many
    /// sends, and the access token.
    pub(super) async fn start(
        on_token: impl Fn(usize) -> (u16, Value) + Send + Sync + 'static,
        on_send: impl Fn(usize, &str) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            on_token: Box::new(on_token),
            on_send: Box::new(on_send),
            assertions: Mutex::new(Vec::new()),
            sent: Mutex::new(Vec::new()),
        });
        let app = Router::new()
            .route("/token", post(token))
            .route("/v1/projects/be.example.app/messages:send", post(send))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let dir = tempfile::tempdir().unwrap();
        let account = dir.path().join("account.json");
        let public_key = write_service_account(&account, &format!("{url}/token"), "rsa-1");
        Self {
            dir,
            url,
            public_key,
            shared,
        }
    }

    pub(super) fn assertions(&self) -> Vec<String> {
        self.shared.assertions.lock().clone()
    }

    pub(super) fn sent(&self) -> Vec<(String, Value)> {
        self.shared.sent.lock().clone()
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    pub(super) fn replace_account(&self, key_id: &str) {
        let path = self.dir.path().join("account.json");
        write_service_account(&path, &self.token_url(), key_id);
    }

    pub(super) fn gateways(&self, clock: &Clock) -> Arc<Gateways> {
        let config = PushConfig {
            apns: Vec::new(),
            fcm: vec![FcmApp {
                project_id: "be.example.app".into(),
                service_account_file: self.dir.path().join("account.json"),
                url: Some(self.url.clone()),
                root_ca_file: None,
                max_in_flight: 500,
            }],
        };
        Arc::new(Gateways::new(&config, clock.source()).unwrap())
    }
}

fn reply((status, body): (u16, Value)) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn token(
    State(shared): State<Arc<Shared>>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let n = {
        let mut assertions = shared.assertions.lock();
        assertions.push(form["assertion"].clone());
        assertions.len() - 1
    };
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    reply((shared.on_token)(n))
}

async fn send(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let bearer = headers["authorization"].to_str().unwrap();
    let access = bearer.strip_prefix("Bearer ").unwrap().to_owned();
    let n = {
        let mut sent = shared.sent.lock();
        sent.push((access.clone(), body));
        sent.len() - 1
    };
    let mut response = reply((shared.on_send)(n, &access));
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        let headers = response.headers_mut();
        headers.insert("retry-after", "20".parse().unwrap());
    }
    response
}
