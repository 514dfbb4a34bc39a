//! A message centre that speaks SMPP 3.4 over plain TCP.
//!
//! Source: "Short Message Peer to Peer Protocol Specification v3.4, Issue 1.2". It takes binds of
//! all three kinds, `submit_sm`, `enquire_link` and `unbind`, and sends receipts as `deliver_sm`.
//! Faults strike `submit_sm`.

mod centre;
mod moment;
mod pdu;
mod receipt;
mod session;
mod submit;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use self::centre::Centre;
use super::endpoint::Desk;
use crate::fault::Faults;
use crate::gateway::journal::Counters;
use crate::gateway::listener::Port;

/// The running message centre.
#[derive(Clone)]
pub struct Smpp(Arc<Service>);

impl Smpp {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// The one account's `system_id`.
    #[must_use]
    pub fn system_id(&self) -> &str {
        &self.0.system_id
    }

    /// Its password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.0.password
    }

    /// What goes wrong here.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.desk.faults
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.desk.journal.counters()
    }

    /// Bound sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.centre.lock().sessions()
    }

    /// Asks every bound session whether it is still there (`enquire_link`). Answers how many.
    pub fn enquire(&self) -> usize {
        self.0.centre.lock().enquire()
    }

    /// How many of those questions have been answered since the start.
    #[must_use]
    pub fn enquiries_answered(&self) -> u64 {
        self.0.centre.lock().enquiries_answered()
    }
}

struct Service {
    addr: SocketAddr,
    system_id: String,
    password: String,
    desk: Desk,
    centre: Mutex<Centre>,
}

pub(super) async fn start(
    listen: SocketAddr,
    desk: Desk,
    system_id: String,
    password: String,
) -> io::Result<Smpp> {
    let (port, addr) = Port::bind(
        listen,
        desk.faults.clone(),
        desk.journal.clone(),
        desk.stop.clone(),
    )
    .await?;
    let service = Arc::new(Service {
        addr,
        system_id,
        password,
        desk,
        centre: Mutex::default(),
    });
    let serving = Arc::clone(&service);
    tokio::spawn(port.run(move |tcp| session::run(Arc::clone(&serving), tcp)));
    Ok(Smpp(service))
}
