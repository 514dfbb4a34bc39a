//! A listener for delivery receipts over HTTP.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::mpsc;

/// Longest wait: a failure is better than a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A receipt as it came.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Call {
    /// The body as a form, in the order of its fields.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let query = format!("http://x/?{}", self.body);
        let uri: Uri = query.parse().unwrap();
        axum::extract::Query::try_from_uri(&uri).unwrap().0
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut form = self.form().into_iter();
        form.find(|(one, _)| one == name).map(|(_, value)| value)
    }
}

pub(crate) struct Callbacks {
    pub(crate) url: String,
    calls: mpsc::UnboundedReceiver<Call>,
}

impl Callbacks {
    /// Listens, and answers everything with `status`.
    pub(crate) async fn listen(status: u16) -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let status = StatusCode::from_u16(status).unwrap();
        let take = async move |State(sender): State<mpsc::UnboundedSender<Call>>,
                               method: Method,
                               uri: Uri,
                               headers: HeaderMap,
                               body: Bytes| {
            let body = String::from_utf8(body.to_vec()).unwrap();
            drop(sender.send(Call {
                method,
                uri,
                headers,
                body,
            }));
            status
        };
        let router = axum::Router::new().fallback(take).with_state(sender);
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", tcp.local_addr().unwrap());
        tokio::spawn(axum::serve(tcp, router).into_future());
        Self { url, calls }
    }

    pub(crate) async fn next(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv())
            .await
            .expect("no callback")
            .unwrap()
    }

    /// Nothing is left of what came so far.
    pub(crate) fn none(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}
