//! A small SMSC: binds, takes texts, sends receipts, by a script.

use std::sync::atomic::AtomicUsize;

use futures_util::{SinkExt, StreamExt};
use rusmpp::pdus::{BindTransceiver, BindTransceiverResp, DeliverSm, SubmitSm, SubmitSmResp};
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::EsmClass;
use rusmpp::{Command, CommandStatus, Pdu};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::codec::Framed;

use super::*;

/// What to do with a text.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// Take it under this id, then send these receipts.
    Take(&'static str, Vec<String>),
    /// As `Take`, with the receipts before the response.
    ReceiptFirst(&'static str, Vec<String>),
    Refuse(CommandStatus),
    /// Say nothing.
    Ignore,
    /// End the connection.
    HangUp,
}

type Script = dyn Fn(usize) -> Fate + Send + Sync;

/// What it saw.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Bind(BindTransceiver),
    Submit(SubmitSm),
    ReceiptAnswered,
    Unbind,
}

struct Shared {
    bind_status: Mutex<CommandStatus>,
    script: Box<Script>,
    submitted: AtomicUsize,
    seen: mpsc::UnboundedSender<Seen>,
}

pub(super) struct Smsc {
    pub(super) port: u16,
    shared: Arc<Shared>,
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
}

impl Smsc {
    pub(super) async fn start(script: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            bind_status: Mutex::new(CommandStatus::EsmeRok),
            script: Box::new(script),
            submitted: AtomicUsize::new(0),
            seen: sender,
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&serving), stream));
            }
        });
        Self { port, shared, seen }
    }

    pub(super) fn answer_binds_with(&self, status: CommandStatus) {
        *self.shared.bind_status.lock() = status;
    }

    /// Waits for a bind.
    pub(super) async fn bind(&mut self) -> BindTransceiver {
        loop {
            if let Seen::Bind(bind) = self.seen.recv().await.unwrap() {
                return bind;
            }
        }
    }

    /// Waits for a text.
    pub(super) async fn submit(&mut self) -> SubmitSm {
        loop {
            if let Seen::Submit(submit) = self.seen.recv().await.unwrap() {
                return submit;
            }
        }
    }
}

type Wire = Framed<TcpStream, CommandCodec>;

fn command(status: CommandStatus, sequence: u32, pdu: impl Into<Pdu>) -> Command {
    Command::new(status, sequence, pdu)
}

async fn receipts(wire: &mut Wire, texts: &[String]) {
    for (n, text) in texts.iter().enumerate() {
        let pdu = DeliverSm::builder()
            .esm_class(EsmClass::from(4))
            .short_message(OctetString::from_slice(text.as_bytes()).unwrap())
            .build();
        let sequence = 1_000 + u32::try_from(n).unwrap();
        wire.send(command(CommandStatus::EsmeRok, sequence, pdu))
            .await
            .unwrap();
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let mut wire = Framed::new(stream, CommandCodec::new());
    while let Some(Ok(received)) = wire.next().await {
        let sequence = received.sequence_number();
        let Some(pdu) = received.pdu().cloned() else {
            continue;
        };
        match pdu {
            Pdu::BindTransceiver(bind) => {
                shared.seen.send(Seen::Bind(bind)).unwrap_or_default();
                let status = *shared.bind_status.lock();
                let response = BindTransceiverResp::default();
                wire.send(command(status, sequence, response))
                    .await
                    .unwrap();
            }
            Pdu::SubmitSm(submit) => {
                let fate = (shared.script)(shared.submitted.fetch_add(1, Ordering::SeqCst));
                shared.seen.send(Seen::Submit(submit)).unwrap_or_default();
                let taken = |id: &str| {
                    let id = COctetString::from_string(id.to_owned()).unwrap();
                    let response = SubmitSmResp::builder().message_id(id).build();
                    command(CommandStatus::EsmeRok, sequence, response)
                };
                match fate {
                    Fate::Take(id, texts) => {
                        wire.send(taken(id)).await.unwrap();
                        receipts(&mut wire, &texts).await;
                    }
                    Fate::ReceiptFirst(id, texts) => {
                        receipts(&mut wire, &texts).await;
                        wire.send(taken(id)).await.unwrap();
                    }
                    Fate::Refuse(status) => {
                        let response = SubmitSmResp::default();
                        wire.send(command(status, sequence, response))
                            .await
                            .unwrap();
                    }
                    Fate::Ignore => {}
                    Fate::HangUp => return,
                }
            }
            Pdu::DeliverSmResp(_) => {
                shared.seen.send(Seen::ReceiptAnswered).unwrap_or_default();
            }
            Pdu::Unbind => {
                shared.seen.send(Seen::Unbind).unwrap_or_default();
                wire.send(command(CommandStatus::EsmeRok, sequence, Pdu::UnbindResp))
                    .await
                    .unwrap();
            }
            _ => {}
        }
    }
}
