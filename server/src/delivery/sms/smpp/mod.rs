//! A session with an SMSC (SMPP 3.4), kept bound as transceiver.
//!
//! `rusmppc` speaks the protocol; connecting again is done here. Its codec
//! traces whole commands, password and text included, so that its connection
//! runs without a subscriber.

mod gsm7;
mod receipt;
mod session;
mod status;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;

use self::receipt::Book;
use super::config::KeyFault;
use super::gateways::Receipts;
use super::reply::{Answer, Gateway, Reply};
use super::secret::SecretFile;
use super::{SmppConfig, Text};
use crate::delivery::alarm::Bell;
use crate::delivery::breaker::Verdict;

/// Longest wait of a text for a session that is being made.
const SESSION_LIMIT: Duration = Duration::from_secs(5);

/// How the session stands.
#[derive(Clone)]
enum Link {
    /// Being made; the outcome is not known yet.
    Connecting,
    /// Texts can be submitted.
    Bound(rusmppc::Client),
    /// The last try failed; another follows after a pause.
    Down { reason: String, refused: bool },
}

/// One bind.
pub(super) struct Smpp {
    name: String,
    host: String,
    port: u16,
    config: SmppConfig,
    tls: Option<Arc<ClientConfig>>,
    password: SecretFile,
    bell: Bell,
    receipts: Arc<Receipts>,
    link: watch::Sender<Link>,
    book: Mutex<Book>,
    /// Read-locked by texts under way, so that they end before the unbind.
    under_way: RwLock<()>,
}

impl Smpp {
    pub(super) fn new(
        name: &str,
        config: &SmppConfig,
        tls: Option<ClientConfig>,
        password: SecretFile,
        bell: Bell,
        receipts: Arc<Receipts>,
    ) -> Result<Self, KeyFault> {
        let place = config.host_and_port();
        let (host, port) = place.ok_or_else(|| ("address", "must be host:port".to_owned()))?;
        session::bind_request(config, password.last().text())
            .map_err(|fault| ("password_file", fault))?;
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            config: config.clone(),
            tls: tls.map(Arc::new),
            password,
            bell,
            receipts,
            link: watch::Sender::new(Link::Connecting),
            book: Mutex::default(),
            under_way: RwLock::new(()),
        })
    }

    /// The bound session, or why there is none.
    async fn client(&self, limit: Duration) -> Result<rusmppc::Client, Reply> {
        let mut link = self.link.subscribe();
        let settled = link.wait_for(|link| match link {
            Link::Connecting => false,
            // Its end is known here before the one who keeps the link knows.
            Link::Bound(client) => !client.is_closed(),
            Link::Down { .. } => true,
        });
        let settled = tokio::time::timeout(limit.min(SESSION_LIMIT), settled).await;
        match settled.as_ref().map(|link| link.as_deref()) {
            Ok(Ok(Link::Bound(client))) => Ok(client.clone()),
            Ok(Ok(Link::Down { reason, refused })) => {
                let reason = reason.clone();
                Err(if *refused {
                    Reply::CredentialRejected { reason }
                } else {
                    Reply::not_taken(reason)
                })
            }
            _ => Err(Reply::not_taken("no session")),
        }
    }
}

#[async_trait]
impl Gateway for Smpp {
    async fn submit(&self, text: &Text, limit: Duration) -> Answer {
        let _under_way = self.under_way.read().await;
        match self.client(limit).await {
            Ok(client) => self.submit_to(&client, text, limit).await,
            // The session has its own pauses.
            Err(reply) => Answer::new(reply, Verdict::Neutral),
        }
    }

    async fn run(&self, stop: CancellationToken) {
        self.keep_bound(stop).await;
    }
}
