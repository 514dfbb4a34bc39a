//! A wire with a valve: what the far side answers is kept back until it is let
//! through. What is sent to it passes all the time.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Stands before a server; stops when dropped.
pub struct Gate {
    addr: SocketAddr,
    held: watch::Sender<bool>,
    server: watch::Sender<Option<SocketAddr>>,
    task: tokio::task::JoinHandle<()>,
}

impl Gate {
    /// In front of `server`, open.
    pub async fn before(server: SocketAddr) -> Self {
        let gate = Self::new().await;
        gate.lead_to(server);
        gate
    }

    /// In front of a server whose place is not known yet: who comes, waits.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (held, holding) = watch::channel(false);
        let (server, place) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut wires = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                wires.spawn(wire(client, place.clone(), holding.clone()));
            }
        });
        Self {
            addr,
            held,
            server,
            task,
        }
    }

    /// From now on connections go to `server`.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Keeps answers back.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets through what was kept back, and what comes.
    pub fn release(&self) {
        self.held.send_replace(false);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wire(
    mut client: TcpStream,
    mut server: watch::Receiver<Option<SocketAddr>>,
    mut held: watch::Receiver<bool>,
) {
    let server = match server.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(server)) => *server,
        _ => return,
    };
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        drop(tokio::io::copy(&mut from_client, &mut to_server).await);
        drop(to_server.shutdown().await);
    };
    let back = async {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(n) = from_server.read(&mut bytes).await {
            let open = held.wait_for(|held| !held).await.is_ok();
            if n == 0 || !open || to_client.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
        drop(to_client.shutdown().await);
    };
    tokio::join!(there, back);
}
