//! An HTTP server that notes what it is told and answers what a script says.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::*;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) method: Method,
    pub(super) path_and_query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Told {
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let query = self.path_and_query.split_once('?').map(|(_, query)| query);
        form::parse(query.unwrap_or_default())
    }

    pub(super) fn form(&self) -> Vec<(String, String)> {
        form::parse(std::str::from_utf8(&self.body).unwrap())
    }
}

pub(super) fn value(pairs: &[(String, String)], name: &str) -> String {
    let found = pairs.iter().find(|(key, _)| key == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {pairs:?}"))
        .1
        .clone()
}

type Script = dyn Fn(usize, &Told) -> (u16, String) + Send + Sync;

struct Shared {
    script: Box<Script>,
    told: Mutex<Vec<Told>>,
}

pub(super) struct Server {
    pub(super) url: String,
    shared: Arc<Shared>,
}

impl Server {
    /// `script` is given how many requests came before. Status 0: the
    /// connection ends without an answer.
    pub(super) async fn start(
        script: impl Fn(usize, &Told) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            told: Mutex::default(),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().clone()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let told = Told {
        method,
        path_and_query: uri.to_string(),
        headers,
        body: body.to_vec(),
    };
    let before = shared.told.lock().len();
    let (status, body) = (shared.script)(before, &told);
    shared.told.lock().push(told);
    // The task dies with the connection on it.
    assert_ne!(status, 0, "the script ends the connection");
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
