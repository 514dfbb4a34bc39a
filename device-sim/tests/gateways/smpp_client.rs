//! An SMPP client of plain bytes, none of it the emulator's or the broker's.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer: a failure is better than a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const BIND_RECEIVER: u32 = 0x01;
pub(crate) const BIND_TRANSMITTER: u32 = 0x02;
pub(crate) const SUBMIT_SM: u32 = 0x04;
pub(crate) const DELIVER_SM: u32 = 0x05;
pub(crate) const UNBIND: u32 = 0x06;
pub(crate) const BIND_TRANSCEIVER: u32 = 0x09;
pub(crate) const ENQUIRE_LINK: u32 = 0x15;
pub(crate) const GENERIC_NACK: u32 = 0x8000_0000;

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) command: u32,
    pub(crate) status: u32,
    pub(crate) sequence: u32,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Client {
    pub(crate) tcp: TcpStream,
    sequence: u32,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self {
            tcp: TcpStream::connect(addr).await.unwrap(),
            sequence: 0,
        }
    }

    /// Connected and bound.
    pub(crate) async fn bound(smpp: &device_sim::gateway::Smpp, command: u32) -> Self {
        let mut client = Self::connect(smpp.addr()).await;
        let answer = client
            .call(command, &bind(smpp.system_id(), smpp.password()))
            .await;
        assert_eq!(answer.status, 0);
        client
    }

    pub(crate) async fn write(&mut self, command: u32, status: u32, sequence: u32, body: &[u8]) {
        let length = 16 + u32::try_from(body.len()).unwrap();
        let mut octets = Vec::new();
        for word in [length, command, status, sequence] {
            octets.extend(word.to_be_bytes());
        }
        octets.extend(body);
        self.tcp.write_all(&octets).await.unwrap();
    }

    /// Sends, and answers the sequence number.
    pub(crate) async fn send(&mut self, command: u32, body: &[u8]) -> u32 {
        self.sequence += 1;
        let sequence = self.sequence;
        self.write(command, 0, sequence, body).await;
        sequence
    }

    /// The next unit; none once the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Unit> {
        tokio::time::timeout(PATIENCE, self.read())
            .await
            .expect("no answer")
    }

    async fn read(&mut self) -> Option<Unit> {
        let mut header = [0; 16];
        self.tcp.read_exact(&mut header).await.ok()?;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; word(0) as usize - 16];
        self.tcp.read_exact(&mut body).await.ok()?;
        Some(Unit {
            command: word(4),
            status: word(8),
            sequence: word(12),
            body,
        })
    }

    /// Sends and takes the answer, which must be the next unit.
    pub(crate) async fn call(&mut self, command: u32, body: &[u8]) -> Unit {
        let sequence = self.send(command, body).await;
        let answer = self.next().await.expect("closed");
        assert_eq!(
            (answer.command, answer.sequence),
            (command | 0x8000_0000, sequence)
        );
        answer
    }
}

fn string(body: &mut Vec<u8>, text: &str) {
    body.extend(text.as_bytes());
    body.push(0);
}

/// The body of a bind.
pub(crate) fn bind(system_id: &str, password: &str) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, system_id);
    string(&mut body, password);
    string(&mut body, "");
    body.extend([0x34, 0, 0]);
    string(&mut body, "");
    body
}

/// A `submit_sm` that is accepted, to be spoiled by the test.
#[derive(Clone)]
pub(crate) struct Submit {
    pub(crate) service_type: &'static str,
    pub(crate) source: (u8, u8, &'static str),
    pub(crate) destination: (u8, u8, &'static str),
    pub(crate) esm_class: u8,
    pub(crate) priority: u8,
    pub(crate) schedule: String,
    pub(crate) validity: String,
    pub(crate) registered: u8,
    pub(crate) replace: u8,
    pub(crate) data_coding: u8,
    pub(crate) default_message: u8,
    pub(crate) message: Vec<u8>,
    pub(crate) parameters: Vec<(u16, Vec<u8>)>,
}

impl Default for Submit {
    fn default() -> Self {
        Self {
            service_type: "",
            source: (5, 0, "Countersign"),
            destination: (1, 1, "32470123456"),
            esm_class: 0,
            priority: 0,
            schedule: String::new(),
            validity: String::new(),
            registered: 1,
            replace: 0,
            data_coding: 0,
            default_message: 0,
            message: b"123456".to_vec(),
            parameters: Vec::new(),
        }
    }
}

impl Submit {
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        string(&mut body, self.service_type);
        for (ton, npi, address) in [self.source, self.destination] {
            body.extend([ton, npi]);
            string(&mut body, address);
        }
        body.extend([self.esm_class, 0, self.priority]);
        string(&mut body, &self.schedule);
        string(&mut body, &self.validity);
        body.extend([
            self.registered,
            self.replace,
            self.data_coding,
            self.default_message,
        ]);
        body.push(u8::try_from(self.message.len()).unwrap());
        body.extend(&self.message);
        for (tag, value) in &self.parameters {
            body.extend(tag.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value);
        }
        body
    }
}

struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn string(&mut self) -> String {
        let end = self.0.iter().position(|octet| *octet == 0).unwrap();
        let text = self.take(end).to_vec();
        self.take(1);
        String::from_utf8(text).unwrap()
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }
}

/// A receipt, read out of a `deliver_sm` octet by octet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) esm_class: u8,
    pub(crate) text: String,
    pub(crate) parameters: Vec<(u16, Vec<u8>)>,
}

impl Receipt {
    pub(crate) fn of(unit: &Unit) -> Self {
        assert_eq!(unit.command, DELIVER_SM);
        let mut octets = Octets(&unit.body);
        assert_eq!(octets.string(), "", "service_type");
        octets.take(2);
        let source = octets.string();
        octets.take(2);
        let destination = octets.string();
        let esm_class = octets.take(3)[0];
        assert_eq!(octets.string(), "", "schedule_delivery_time");
        assert_eq!(octets.string(), "", "validity_period");
        octets.take(4);
        let length = usize::from(octets.take(1)[0]);
        let text = String::from_utf8(octets.take(length).to_vec()).unwrap();
        let mut parameters = Vec::new();
        while !octets.0.is_empty() {
            let tag = octets.number();
            let length = usize::from(octets.number());
            parameters.push((tag, octets.take(length).to_vec()));
        }
        Self {
            source,
            destination,
            esm_class,
            text,
            parameters,
        }
    }

    pub(crate) fn parameter(&self, tag: u16) -> Option<&[u8]> {
        let mut parameters = self.parameters.iter();
        parameters
            .find(|(one, _)| *one == tag)
            .map(|(_, value)| value.as_slice())
    }
}
