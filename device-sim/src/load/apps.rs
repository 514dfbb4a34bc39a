//! Apps that are open: a `Subscribe` stream each.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use countersign_proto::v1::{
    SignedChallenge, SubscribeRequest, SubscribeResponse,
    device_service_client::DeviceServiceClient, subscribe_response::Event,
};
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::behaviour::Channel as Road;
use super::inbox::{News, Who};
use super::run::Run;
use super::schedule::channel_of;
use crate::fleet::LightPhone;
use crate::phone::method;

/// Apps that open at the same time.
const AT_A_TIME: usize = 64;
/// Before an app that was cut off opens again.
const PAUSE: Duration = Duration::from_millis(500);

/// Opens the app.
pub(super) async fn open(
    channel: &Channel,
    phone: &LightPhone,
) -> Result<Streaming<SubscribeResponse>, Status> {
    let request = phone
        .proven(
            method::SUBSCRIBE,
            SubscribeRequest::default(),
            SystemTime::now(),
        )
        .map_err(|error| Status::internal(error.to_string()))?;
    let mut client = DeviceServiceClient::new(channel.clone());
    Ok(client.subscribe(request).await?.into_inner())
}

/// Reads on until `issued` comes; `None`: the broker closed the stream.
pub(super) async fn find(
    app: &mut Streaming<SubscribeResponse>,
    issued: &SignedChallenge,
) -> Result<Option<SignedChallenge>, Status> {
    while let Some(message) = app.message().await? {
        if let Some(Event::Challenge(challenge)) = message.event
            && challenge.body == issued.body
        {
            return Ok(Some(challenge));
        }
    }
    Ok(None)
}

impl Run {
    /// Whether this user's app is kept open.
    pub(super) fn is_open(&self, (_, user): Who) -> bool {
        user < self.args.open_apps && self.road(user) == Road::Subscribe
    }

    fn road(&self, user: u64) -> Road {
        let target = &self.args.target;
        channel_of(&target.channels, target.population, user)
    }

    /// How many apps are kept open.
    pub(super) fn apps_to_open(&self) -> Vec<Who> {
        let users = self.args.open_apps.min(self.args.users());
        (0..self.tenants.len())
            .flat_map(|tenant| (0..users).map(move |user| (tenant, user)))
            .filter(|(_, user)| self.road(*user) == Road::Subscribe)
            .chain(self.bombed())
            .collect()
    }
}

/// Opens the apps of all these, and keeps them open for as long as the set is
/// kept. `progress` is told how many are open.
pub(super) async fn keep_open(
    run: &Arc<Run>,
    all: Vec<Who>,
    mut progress: impl FnMut(usize),
) -> JoinSet<()> {
    let mut open_ones = JoinSet::new();
    let mut opening = futures_util::stream::iter(all)
        .map(|who| {
            let run = Arc::clone(run);
            async move { (who, begin(&run, who).await) }
        })
        .buffer_unordered(AT_A_TIME);
    while let Some((who, app)) = opening.next().await {
        open_ones.spawn(keep_one_open(Arc::clone(run), who, app));
        progress(open_ones.len());
    }
    drop(opening);
    open_ones
}

/// Opens one; what goes wrong is taken down.
async fn begin(run: &Run, who: Who) -> Option<Streaming<SubscribeResponse>> {
    let tenant = run.tenants.get(who.0)?;
    let phone = match tenant.phone(who.1).await {
        Ok(phone) => phone,
        Err(error) => {
            let why = "its user has no device";
            run.recorder
                .error(run.now(), "phone", why, &error.to_string());
            return None;
        }
    };
    match open(&run.apps.pick(who.1), &phone).await {
        Ok(app) => Some(app),
        Err(status) => {
            run.failed_call("Subscribe", &status);
            None
        }
    }
}

async fn keep_one_open(run: Arc<Run>, who: Who, app: Option<Streaming<SubscribeResponse>>) {
    let mut next = app;
    loop {
        if let Some(mut app) = next {
            loop {
                match app.message().await {
                    Ok(Some(message)) => take(&run, who, message),
                    Ok(None) => break,
                    Err(status) => {
                        run.failed_call("Subscribe", &status);
                        break;
                    }
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        next = begin(&run, who).await;
    }
}

fn take(run: &Run, who: Who, message: SubscribeResponse) {
    if let Some(Event::Challenge(challenge)) = message.event {
        let news = News {
            at: Instant::now(),
            challenge: Some(challenge),
        };
        if who.1 >= run.args.users() {
            // Nobody signs in here but the attacker.
            run.siege.bomber.reached();
        }
        run.inboxes.deliver(who, &news);
    }
}
