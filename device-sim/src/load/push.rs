//! Phones that Apple or Google wake. Their push tokens follow from who they are,
//! so that nobody keeps a million of them; the emulated gateways hand over what
//! comes for any of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_proto::signing::sha256;
use countersign_proto::v1::{Gateway, PushEnvironment, PushRegistration};
use data_encoding::HEXLOWER;
use serde_json::Value;
use tokio::task::JoinSet;

use super::behaviour::Channel;
use super::inbox::News;
use super::mix::Mix;
use super::run::Run;
use super::schedule::channel_of;
use super::settings::TargetArgs;
use crate::fetch::{FetchError, get_lines};
use crate::phone::PushMessage;

/// Before a line that was cut is opened again.
const PAUSE: Duration = Duration::from_millis(500);

/// Who is woken by whom.
pub(super) struct Pushed {
    channels: Mix<Channel>,
    population: u64,
    apns_app: String,
    fcm_project: String,
}

impl Pushed {
    pub(super) fn new(args: &TargetArgs) -> Self {
        Self {
            channels: args.channels.clone(),
            population: args.population,
            apns_app: args.apns_app.clone(),
            fcm_project: args.fcm_project.clone(),
        }
    }

    /// The push registration of a user's phone; `None` where nobody wakes it.
    pub(super) fn registration(&self, tenant_id: &str, user: u64) -> Option<PushRegistration> {
        let registration = |gateway: Gateway, app_id: &str, token| PushRegistration {
            gateway: gateway.into(),
            app_id: app_id.to_owned(),
            environment: PushEnvironment::Production.into(),
            token,
        };
        let start = self.prefix(tenant_id);
        match channel_of(&self.channels, self.population, user) {
            Channel::Subscribe | Channel::Fetch => None,
            Channel::Apns => {
                // 64 hexadecimal digits, as Apple's have had so far.
                let token = format!("{start}{user:016x}{start}{start}");
                Some(registration(Gateway::Apns, &self.apns_app, token))
            }
            Channel::Fcm => {
                let rest = start.repeat(8);
                let token = format!("{start}{user:016x}:APA91b{rest}");
                Some(registration(Gateway::Fcm, &self.fcm_project, token))
            }
        }
    }

    /// What the tokens of an organisation's phones begin with: 16 digits.
    fn prefix(&self, tenant_id: &str) -> String {
        let whole = sha256(format!("fleet {} of {tenant_id}", self.population).as_bytes());
        let (start, _) = whole.split_at(8);
        HEXLOWER.encode(start)
    }
}

/// The user whose phone has this token.
fn user_of(token: &str) -> Option<u64> {
    u64::from_str_radix(token.get(16..32)?, 16).ok()
}

/// Listens for pushes to the run's phones, for as long as the set is kept.
///
/// # Errors
/// [`FetchError`]: the control page can't be reached.
pub(super) async fn listen(run: &Arc<Run>) -> Result<JoinSet<()>, FetchError> {
    let mut listening = JoinSet::new();
    let target = &run.args.target;
    let Some(control) = &target.gateways else {
        return Ok(listening);
    };
    let pushed = Pushed::new(target);
    for (number, tenant) in run.tenants.iter().enumerate() {
        for (road, gateway, app) in [
            (Channel::Apns, "apns", &target.apns_app),
            (Channel::Fcm, "fcm", &target.fcm_project),
        ] {
            if !target.channels.has(road) {
                continue;
            }
            let prefix = pushed.prefix(&tenant.tenant_id);
            let control = control.trim_end_matches('/');
            let address =
                format!("{control}/fleets/{prefix}/pushes?gateway={gateway}&app_id={app}");
            // Once now, so that no push comes before the gateway knows the phones.
            let first = get_lines(&address).await?;
            let run = Arc::clone(run);
            listening.spawn(async move {
                let mut lines = Some(first);
                loop {
                    if let Some(mut lines) = lines.take() {
                        while let Ok(Some(line)) = lines.next().await {
                            take(&run, number, &line);
                        }
                    }
                    tokio::time::sleep(PAUSE).await;
                    lines = get_lines(&address).await.ok();
                }
            });
        }
    }
    Ok(listening)
}

fn take(run: &Run, tenant: usize, line: &str) {
    let Ok(push) = serde_json::from_str::<Value>(line) else {
        return;
    };
    // What is withdrawn or only told is no reason to open the app.
    if !matches!(
        push.get("push").and_then(PushMessage::read),
        Some(PushMessage::Challenge { .. } | PushMessage::Sealed { .. })
    ) {
        return;
    }
    let token = push.get("token").and_then(Value::as_str);
    if let Some(user) = token.and_then(user_of) {
        let news = News {
            at: Instant::now(),
            challenge: None,
        };
        run.inboxes.deliver((tenant, user), &news);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tokens_tell_whose_phone_it_is() {
        let pushed = Pushed {
            channels: "apns=1,fcm=1,fetch=1".parse().unwrap(),
            population: 3,
            apns_app: "be.example".to_owned(),
            fcm_project: "example".to_owned(),
        };
        let mut seen = [0; 3];
        for user in 0..300 {
            match pushed.registration("tenant", user) {
                None => seen[0] += 1,
                Some(one) if one.gateway() == Gateway::Apns => {
                    seen[1] += 1;
                    assert_eq!((one.token.len(), user_of(&one.token)), (64, Some(user)));
                }
                Some(one) => {
                    seen[2] += 1;
                    assert_eq!(user_of(&one.token), Some(user));
                }
            }
            let elsewhere = pushed.registration("other tenant", user);
            let here = pushed.registration("tenant", user);
            assert!(here.is_none() || here != elsewhere);
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
