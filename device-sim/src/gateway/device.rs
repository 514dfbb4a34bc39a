//! The phones' side of the emulated vendors: who holds which token, and what waits for a phone
//! that isn't connected.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::clock::GatewayClock;
use super::journal::Fate;

/// Messages FCM keeps for a device without collapsing ("About FCM messages", non-collapsible).
const FCM_STORED_LIMIT: usize = 100;
/// Notifications a phone's screen keeps in the emulator.
const SCREEN_LIMIT: usize = 32;

/// APNs keeps two worlds apart: `api.push.apple.com` and `api.sandbox.push.apple.com`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Apps from the store.
    #[default]
    Production,
    /// Development builds.
    Sandbox,
}

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// Apple.
    Apns,
    /// Google.
    Fcm,
}

/// What an app asks its vendor: a token, please.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Apple or Google.
    pub gateway: Vendor,
    /// APNs: the app's bundle id (topic). FCM: the Firebase project id.
    pub app_id: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
}

/// A push as the phone receives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "gateway", rename_all = "snake_case")]
pub enum Push {
    /// From Apple.
    Apns(ApnsPush),
    /// From Google.
    Fcm(FcmPush),
}

/// A push from Apple.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApnsPush {
    /// `apns-id`, as echoed to the sender.
    pub apns_id: String,
    /// `apns-topic`.
    pub topic: String,
    /// `apns-push-type`.
    pub push_type: String,
    /// `apns-priority`: 10, 5 or 1.
    pub priority: u8,
    /// `apns-expiration` in seconds since the UNIX epoch; unset: kept as long as APNs likes.
    pub expiration: Option<u64>,
    /// `apns-collapse-id`: a later push with the same one takes this one's place on the screen.
    pub collapse_id: Option<String>,
    /// The request's `apns-*` headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub payload: Value,
    /// When the gateway accepted it, in milliseconds since the UNIX epoch.
    pub time_ms: u64,
}

/// A push from Google.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FcmPush {
    /// `projects/{project}/messages/{id}`, as answered to the sender.
    pub name: String,
    /// The Firebase project.
    pub project_id: String,
    /// `NORMAL` or `HIGH`.
    pub priority: String,
    /// `android.ttl` in milliseconds.
    pub ttl_ms: u64,
    /// `android.collapse_key`.
    pub collapse_key: Option<String>,
    /// The request's `message`.
    pub message: Value,
    /// When the gateway accepted it, in milliseconds since the UNIX epoch.
    pub time_ms: u64,
}

/// What a gateway finds for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) app_id: String,
    pub(crate) environment: Environment,
    pub(crate) life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Active,
    /// The app was removed, at this time in milliseconds.
    Unregistered(u64),
    /// The token ran out, at this time in milliseconds.
    Expired(u64),
}

struct Device {
    vendor: Vendor,
    holder: Holder,
    connected: Vec<mpsc::UnboundedSender<Push>>,
    stored: VecDeque<Push>,
    screen: VecDeque<Push>,
}

/// Many phones of one app, whose tokens all begin alike: of a load generator,
/// which tells them apart itself. Pushes are for who is connected, or for nobody.
struct Fleet {
    prefix: String,
    vendor: Vendor,
    holder: Holder,
    connected: mpsc::UnboundedSender<(String, Push)>,
}

/// All devices of both vendors. Clones share them.
#[derive(Clone)]
pub struct Devices {
    clock: GatewayClock,
    table: Arc<Mutex<HashMap<String, Device>>>,
    fleets: Arc<Mutex<Vec<Fleet>>>,
}

/// The pushes for one token, from those that waited for it on. Dropping it disconnects the phone.
#[derive(Debug)]
pub struct Pushes(mpsc::UnboundedReceiver<Push>);

impl Pushes {
    /// The next push; `None` once the app is uninstalled or the gateways have stopped.
    pub async fn recv(&mut self) -> Option<Push> {
        self.0.recv().await
    }

    /// The next push if one is there already.
    pub fn try_recv(&mut self) -> Option<Push> {
        self.0.try_recv().ok()
    }
}

impl Stream for Pushes {
    type Item = Push;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        self.0.poll_recv(cx)
    }
}

impl Devices {
    pub(crate) fn new(clock: GatewayClock) -> Self {
        Self {
            clock,
            table: Arc::default(),
            fleets: Arc::default(),
        }
    }

    /// Issues a token. Whether the app exists is for the caller to check.
    pub(crate) fn issue(&self, registration: &Registration) -> String {
        let token = match (registration.gateway, registration.environment) {
            // Apple: "don't make assumptions about the size of tokens". Those of the simulator are
            // 80 bytes, those of phones have been 32 so far.
            (Vendor::Apns, Environment::Production) => hex(&rand::random::<[u8; 32]>()),
            (Vendor::Apns, Environment::Sandbox) => hex(&rand::random::<[u8; 80]>()),
            (Vendor::Fcm, _) => fcm_token(),
        };
        let device = Device {
            vendor: registration.gateway,
            holder: Holder {
                app_id: registration.app_id.clone(),
                environment: registration.environment,
                life: Life::Active,
            },
            connected: Vec::new(),
            stored: VecDeque::new(),
            screen: VecDeque::new(),
        };
        self.table.lock().insert(token.clone(), device);
        token
    }

    /// Connects the phone: it gets what waits for it, and every push from now on. `None` if the
    /// token is not (or no longer) alive.
    pub fn connect(&self, token: &str) -> Option<Pushes> {
        let now = self.clock.now_ms();
        let mut table = self.table.lock();
        let device = table.get_mut(token)?;
        if device.holder.life != Life::Active {
            return None;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        for push in std::mem::take(&mut device.stored) {
            if !push.expired(now) && sender.send(push.clone()).is_ok() {
                device.show(push);
            }
        }
        device.connected.push(sender);
        Some(Pushes(receiver))
    }

    /// From now on all tokens of this vendor that begin with `prefix` are alive,
    /// and belong to the app; their pushes come here, in the place of an earlier
    /// connection of the same fleet.
    pub(crate) fn connect_fleet(
        &self,
        prefix: &str,
        registration: &Registration,
    ) -> mpsc::UnboundedReceiver<(String, Push)> {
        let (connected, pushes) = mpsc::unbounded_channel();
        let vendor = registration.gateway;
        let mut fleets = self.fleets.lock();
        fleets.retain(|fleet| fleet.vendor != vendor || fleet.prefix != prefix);
        fleets.push(Fleet {
            prefix: prefix.to_owned(),
            vendor,
            holder: Holder {
                app_id: registration.app_id.clone(),
                environment: registration.environment,
                life: Life::Active,
            },
            connected,
        });
        pushes
    }

    /// Whether the phone with this token has its stream of pushes open.
    pub fn is_connected(&self, token: &str) -> bool {
        let table = self.table.lock();
        table.get(token).is_some_and(|device| {
            let mut connected = device.connected.iter();
            connected.any(|sender| !sender.is_closed())
        })
    }

    /// The notifications on the phone's screen, oldest first: of several with the same
    /// `apns-collapse-id` (or `collapse_key`) the last.
    pub fn screen(&self, token: &str) -> Vec<Push> {
        let table = self.table.lock();
        table
            .get(token)
            .map(|device| device.screen.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Removes the app: its token is dead from now on (APNs 410 `Unregistered`, FCM 404
    /// `UNREGISTERED`). False if the token is unknown.
    pub fn uninstall(&self, token: &str) -> bool {
        let now = self.clock.now_ms();
        self.end(token, Life::Unregistered(now))
    }

    /// Lets the token run out (APNs 410 `ExpiredToken`, FCM 404 `UNREGISTERED`). False if the token
    /// is unknown.
    pub fn expire(&self, token: &str) -> bool {
        let now = self.clock.now_ms();
        self.end(token, Life::Expired(now))
    }

    /// Number of tokens ever issued.
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether no token was ever issued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn end(&self, token: &str, life: Life) -> bool {
        let mut table = self.table.lock();
        let Some(device) = table.get_mut(token) else {
            return false;
        };
        if device.holder.life == Life::Active {
            device.holder.life = life;
        }
        device.connected.clear();
        device.stored.clear();
        true
    }

    pub(crate) fn disconnect_all(&self) {
        for device in self.table.lock().values_mut() {
            device.connected.clear();
        }
    }

    pub(crate) fn holder(&self, vendor: Vendor, token: &str) -> Option<Holder> {
        if let Some(device) = self.table.lock().get(token) {
            return (device.vendor == vendor).then(|| device.holder.clone());
        }
        let fleets = self.fleets.lock();
        let mut fleets = fleets.iter().filter(|fleet| fleet.vendor == vendor);
        let fleet = fleets.find(|fleet| token.starts_with(&fleet.prefix))?;
        Some(fleet.holder.clone())
    }

    fn deliver_to_fleet(&self, token: &str, push: &Push, copies: usize) -> Fate {
        let vendor = match push {
            Push::Apns(_) => Vendor::Apns,
            Push::Fcm(_) => Vendor::Fcm,
        };
        let fleets = self.fleets.lock();
        let mut fleets = fleets.iter().filter(|fleet| fleet.vendor == vendor);
        let Some(fleet) = fleets.find(|fleet| token.starts_with(&fleet.prefix)) else {
            return Fate::Discarded;
        };
        let send = |_| {
            let push = (token.to_owned(), push.clone());
            fleet.connected.send(push).is_ok()
        };
        if !(0..copies).all(send) {
            return Fate::Discarded;
        }
        if copies > 1 {
            Fate::Duplicated
        } else {
            Fate::Delivered
        }
    }

    /// Hands an accepted push to the phone, or keeps it.
    pub(crate) fn deliver(&self, token: &str, push: Push, copies: usize) -> Fate {
        let now = self.clock.now_ms();
        let mut table = self.table.lock();
        let Some(device) = table.get_mut(token) else {
            drop(table);
            return self.deliver_to_fleet(token, &push, copies);
        };
        device
            .connected
            .retain(|sender| (0..copies).all(|_| sender.send(push.clone()).is_ok()));
        if !device.connected.is_empty() {
            device.show(push);
            return if copies > 1 {
                Fate::Duplicated
            } else {
                Fate::Delivered
            };
        }
        if push.expired(now) {
            return Fate::Discarded;
        }
        match &push {
            // "APNs stores only one notification per bundle ID" and device.
            Push::Apns(_) => device.stored.clear(),
            Push::Fcm(_) => {
                device.stored.retain(|old| !push.replaces(old));
                if device.stored.len() >= FCM_STORED_LIMIT {
                    // FCM then discards them all and tells the app so.
                    device.stored.clear();
                }
            }
        }
        device.stored.push_back(push);
        Fate::Stored
    }
}

impl Device {
    fn show(&mut self, push: Push) {
        self.screen.retain(|old| !push.replaces(old));
        if self.screen.len() >= SCREEN_LIMIT {
            self.screen.pop_front();
        }
        self.screen.push_back(push);
    }
}

impl Push {
    /// Not to be delivered any more, nor to be kept.
    fn expired(&self, now_ms: u64) -> bool {
        match self {
            Push::Apns(push) => push
                .expiration
                .is_some_and(|at| at.saturating_mul(1000) <= now_ms),
            Push::Fcm(push) => push.time_ms.saturating_add(push.ttl_ms) <= now_ms,
        }
    }

    fn replaces(&self, old: &Push) -> bool {
        match (self, old) {
            (Push::Apns(new), Push::Apns(old)) => {
                new.collapse_id.is_some() && new.collapse_id == old.collapse_id
            }
            (Push::Fcm(new), Push::Fcm(old)) => {
                new.collapse_key.is_some() && new.collapse_key == old.collapse_key
            }
            (Push::Apns(_), Push::Fcm(_)) | (Push::Fcm(_), Push::Apns(_)) => false,
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The shape FCM's tokens have: installation id, colon, "APA91b", 134 characters.
fn fcm_token() -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
    let id = BASE64URL.encode(rand::random::<[u8; 16]>());
    let mut rest = BASE64URL.encode(rand::random::<[u8; 101]>());
    rest.truncate(134);
    format!("{id}:APA91b{rest}")
}

/// Whether a text has the shape of an FCM token.
pub(crate) fn looks_like_fcm_token(token: &str) -> bool {
    let charset = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    token.split_once(":APA91b").is_some_and(|(id, rest)| {
        id.len() >= 11 && rest.len() >= 100 && id.bytes().chain(rest.bytes()).all(charset)
    })
}
