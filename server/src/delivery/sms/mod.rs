//! Text messages: several gateways in order, of three kinds, with fail-over.
//!
//! A [`Text`] goes to the first gateway that takes it. A gateway that can't be
//! reached, is overloaded, refuses our credential or fails is passed over at
//! once; what may have been sent is not sent again through another. Delivery
//! receipts come back over HTTP ([`SmsGateways::callback`]) or over the SMPP
//! session, and are told to one [`ReceiptSink`].

mod callback;
mod config;
mod form;
mod gateways;
mod lane;
mod reply;
mod secret;
mod smpp;
#[cfg(test)]
mod tests;
mod twilio;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use self::callback::{CallbackRefused, CallbackRequest};
pub use self::config::{
    SmppConfig, SmsConfig, SmsGatewayConfig, SmsGatewayKind, StatusWords, TwilioConfig,
    WebhookConfig,
};
pub use self::gateways::SmsGateways;
pub(crate) use self::secret::check as check_secret;

/// One text message.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The same for every try.
    pub id: Uuid,
    /// The number, in E.164 form with its plus sign.
    pub to: String,
    /// What it says: characters of the GSM 7-bit alphabet, one segment.
    pub body: String,
    /// Opaque, `[A-Za-z0-9_-]`, at most 128; comes back with every receipt.
    /// Empty: no receipt is wanted.
    pub reference: String,
    /// When a gateway may give up, in Unix milliseconds.
    pub expire_at_ms: u64,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text")
            .field("id", &self.id)
            .field("to", &masked(&self.to))
            .field("body_len", &self.body.len())
            .field("reference", &self.reference)
            .field("expire_at_ms", &self.expire_at_ms)
            .finish()
    }
}

/// What came of a text. Every `reason` is ours or the gateway's code: its prose
/// may repeat the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOutcome {
    /// A gateway took it.
    Accepted {
        /// Which, by its configured name.
        gateway: String,
    },
    /// Nobody took it; another try is worth it.
    RetryAfter {
        /// Why.
        reason: String,
        /// How long the gateways want to be left alone, where known.
        after: Option<Duration>,
    },
    /// No gateway will ever take this text: the number is not one.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Nobody took it, since our credentials are refused: an operator must act.
    CredentialRejected {
        /// Why.
        reason: String,
    },
    /// Perhaps sent. Sending it again may send it twice.
    Unknown {
        /// The gateway it was handed to.
        gateway: String,
        /// Why it is not known.
        reason: String,
    },
    /// No gateway is configured.
    NoGateway,
}

impl TextOutcome {
    /// `accepted`, `retry_after` …, as in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::RetryAfter { .. } => "retry_after",
            Self::Rejected { .. } => "rejected",
            Self::CredentialRejected { .. } => "credential_rejected",
            Self::Unknown { .. } => "unknown",
            Self::NoGateway => "no_gateway",
        }
    }
}

/// What a gateway tells of a text it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextReceipt {
    /// The text's.
    pub reference: String,
    /// The gateway's configured name.
    pub gateway: String,
    /// How far it has come.
    pub state: TextState,
}

/// How far a text has come. Gateways tell it in any order, and more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextState {
    /// On its way through the phone network.
    Sent,
    /// The phone has it.
    Delivered,
    /// It will not arrive.
    Failed {
        /// Why, as the gateway's code.
        reason: String,
    },
}

/// Is told every receipt, on the thread that received it: it must not block.
pub type ReceiptSink = Arc<dyn Fn(TextReceipt) + Send + Sync>;

/// A number as it may be shown: every digit but the last two an X.
fn masked(number: &str) -> String {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let mut seen = 0;
    number
        .chars()
        .map(|c| {
            if !c.is_ascii_digit() {
                return if c == '+' { c } else { '?' };
            }
            seen += 1;
            if seen + 2 > digits { c } else { 'X' }
        })
        .collect()
}

/// A reference is put into addresses as it is.
fn is_reference(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// E.164: a plus sign and up to 15 digits, the first not 0.
fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}
