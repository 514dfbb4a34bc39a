//! Protocol data units: reading and writing.
//!
//! Source: "Short Message Peer to Peer Protocol Specification v3.4", chapters 3.2 and 5.1–5.3. A
//! codec of our own: a broker whose client and whose message centre shared one would not notice its
//! faults.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Octets of a header (section 3.2).
const HEADER: usize = 16;
/// Longest PDU that is read: the longest `message_payload` and room for the rest.
const LONGEST: usize = 66 * 1024;
/// Set in the id of every response (section 5.1.2.1).
pub(super) const RESPONSE: u32 = 0x8000_0000;

/// `command_id` (section 5.1.2.1).
pub(super) mod command {
    pub(in super::super) const GENERIC_NACK: u32 = 0x8000_0000;
    pub(in super::super) const BIND_RECEIVER: u32 = 0x01;
    pub(in super::super) const BIND_TRANSMITTER: u32 = 0x02;
    pub(in super::super) const SUBMIT_SM: u32 = 0x04;
    pub(in super::super) const DELIVER_SM: u32 = 0x05;
    pub(in super::super) const DELIVER_SM_RESP: u32 = 0x8000_0005;
    pub(in super::super) const UNBIND: u32 = 0x06;
    pub(in super::super) const UNBIND_RESP: u32 = 0x8000_0006;
    pub(in super::super) const BIND_TRANSCEIVER: u32 = 0x09;
    pub(in super::super) const ENQUIRE_LINK: u32 = 0x15;
    pub(in super::super) const ENQUIRE_LINK_RESP: u32 = 0x8000_0015;
}

/// Optional parameters (section 5.3.2).
pub(super) mod tag {
    pub(in super::super) const RECEIPTED_MESSAGE_ID: u16 = 0x001E;
    pub(in super::super) const SC_INTERFACE_VERSION: u16 = 0x0210;
    pub(in super::super) const SAR_MSG_REF_NUM: u16 = 0x020C;
    pub(in super::super) const SAR_TOTAL_SEGMENTS: u16 = 0x020E;
    pub(in super::super) const SAR_SEGMENT_SEQNUM: u16 = 0x020F;
    pub(in super::super) const NETWORK_ERROR_CODE: u16 = 0x0423;
    pub(in super::super) const MESSAGE_PAYLOAD: u16 = 0x0424;
    pub(in super::super) const MESSAGE_STATE: u16 = 0x0427;
}

/// `command_status` with its name (section 5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u32, pub(super) &'static str);

macro_rules! statuses {
    ($($name:ident = $value:literal;)*) => {
        impl Status {
            $(pub(super) const $name: Self = Self($value, stringify!($name));)*

            /// The name of a number, or the number.
            pub(super) fn name_of(status: u32) -> String {
                match status {
                    $($value => stringify!($name).to_owned(),)*
                    other => format!("{other:#010x}"),
                }
            }
        }
    };
}

statuses! {
    ESME_ROK = 0x00;
    ESME_RINVMSGLEN = 0x01;
    ESME_RINVCMDLEN = 0x02;
    ESME_RINVCMDID = 0x03;
    ESME_RINVBNDSTS = 0x04;
    ESME_RALYBND = 0x05;
    ESME_RINVPRTFLG = 0x06;
    ESME_RINVREGDLVFLG = 0x07;
    ESME_RSYSERR = 0x08;
    ESME_RINVSRCADR = 0x0A;
    ESME_RINVDSTADR = 0x0B;
    ESME_RBINDFAIL = 0x0D;
    ESME_RINVPASWD = 0x0E;
    ESME_RINVSYSID = 0x0F;
    ESME_RMSGQFUL = 0x14;
    ESME_RINVSERTYP = 0x15;
    ESME_RINVESMCLASS = 0x43;
    ESME_RSUBMITFAIL = 0x45;
    ESME_RINVSRCTON = 0x48;
    ESME_RINVSRCNPI = 0x49;
    ESME_RINVDSTTON = 0x50;
    ESME_RINVDSTNPI = 0x51;
    ESME_RINVSYSTYP = 0x53;
    ESME_RINVREPFLAG = 0x54;
    ESME_RTHROTTLED = 0x58;
    ESME_RINVSCHED = 0x61;
    ESME_RINVEXPIRY = 0x62;
    ESME_RINVDFTMSGID = 0x63;
    ESME_RX_T_APPN = 0x64;
    ESME_RINVOPTPARSTREAM = 0xC0;
    ESME_RINVPARLEN = 0xC2;
    ESME_RINVOPTPARAMVAL = 0xC4;
}

/// One unit.
#[derive(Clone, Debug)]
pub(super) struct Pdu {
    pub(super) command: u32,
    pub(super) status: u32,
    pub(super) sequence: u32,
    pub(super) body: Bytes,
}

impl Pdu {
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut octets = Vec::with_capacity(HEADER + self.body.len());
        for word in [length, self.command, self.status, self.sequence] {
            octets.extend(word.to_be_bytes());
        }
        octets.extend_from_slice(&self.body);
        octets
    }

    /// The next unit; none at the connection's end, and none after a length that can't be.
    pub(super) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
    ) -> std::io::Result<Option<Result<Self, BadLength>>> {
        let mut words = [0u32; 4];
        for word in &mut words {
            match stream.read_u32().await {
                Ok(read) => *word = read,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let [length, command, status, sequence] = words;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEADER..=LONGEST).contains(&length) {
            return Ok(Some(Err(BadLength { sequence })));
        }
        let mut body = vec![0; length - HEADER];
        match stream.read_exact(&mut body).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(Ok(Self {
            command,
            status,
            sequence,
            body: body.into(),
        })))
    }
}

/// A `command_length` that can't be: where the next unit begins is not known any more.
pub(super) struct BadLength {
    pub(super) sequence: u32,
}

/// Reads the fields of a body.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn octet(&mut self) -> Result<u8, Status> {
        let (first, rest) = self.0.split_first().ok_or(Status::ESME_RINVCMDLEN)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn octets(&mut self, count: usize) -> Result<&'a [u8], Status> {
        let (octets, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Status::ESME_RINVCMDLEN)?;
        self.0 = rest;
        Ok(octets)
    }

    /// A C-octet string of at most `limit` octets, its NUL included; `too_long` is the status for
    /// one that is longer, or not ASCII.
    pub(super) fn string(&mut self, limit: usize, too_long: Status) -> Result<&'a str, Status> {
        let end = self.0.iter().position(|octet| *octet == 0);
        let end = end.ok_or(Status::ESME_RINVCMDLEN)?;
        let octets = self.octets(end)?;
        self.octet()?;
        if end >= limit || !octets.is_ascii() {
            return Err(too_long);
        }
        std::str::from_utf8(octets).map_err(|_| too_long)
    }

    /// The next optional parameter, none at the end.
    pub(super) fn parameter(&mut self) -> Result<Option<(u16, &'a [u8])>, Status> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let broken = |_| Status::ESME_RINVOPTPARSTREAM;
        let mut number = || -> Result<u16, Status> {
            let high = self.octet().map_err(broken)?;
            let low = self.octet().map_err(broken)?;
            Ok(u16::from_be_bytes([high, low]))
        };
        let (tag, length) = (number()?, number()?);
        let value = self.octets(usize::from(length)).map_err(broken)?;
        Ok(Some((tag, value)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes a body.
#[derive(Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn octet(mut self, octet: u8) -> Self {
        self.0.push(octet);
        self
    }

    pub(super) fn octets(mut self, octets: &[u8]) -> Self {
        self.0.extend_from_slice(octets);
        self
    }

    pub(super) fn string(self, text: &str) -> Self {
        self.octets(text.as_bytes()).octet(0)
    }

    pub(super) fn parameter(self, tag: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.octets(&tag.to_be_bytes())
            .octets(&length.to_be_bytes())
            .octets(value)
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}
