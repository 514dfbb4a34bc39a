//! Everything goes wrong at once, from a seed, over thousands of challenges.
//!
//! `COUNTERSIGN_CHAOS_SEED` plays the same faults and users again (which of two
//! requests reaches a gateway first is still up to the machine);
//! `COUNTERSIGN_CHAOS_COUNT` sets how many challenges.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, DeliveryState as D,
};
use countersign_server::clock::Clock;
use countersign_tests::{
    end,
    push::{PushWorld, Said, delivery},
    reason,
};
use device_sim::{
    fault::{Fault, FaultPlan, Share},
    gateway::{Arrival, Fate, GatewaysConfig, Pushes, Vendor},
    phone::Phone,
};
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

const COUNT: usize = 2000;
const USERS: usize = 40;
/// What gateways say of a token that will not be used again.
const DEAD: [&str; 3] = ["Unregistered", "UNREGISTERED", "BadDeviceToken"];
/// A run that hangs is a failure.
const PATIENCE: Duration = Duration::from_secs(300);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn plan(seed: u64) -> FaultPlan {
    let faults = [
        (0.20, Fault::Latency { millis: 20 }),
        (0.03, Fault::Drop),
        (0.05, Fault::Duplicate),
        (0.03, Fault::Reset { processed: false }),
        (0.03, Fault::Reset { processed: true }),
        (0.02, Fault::RefuseStream),
        (0.02, Fault::Goaway { code: 0 }),
        (0.01, Fault::Goaway { code: 7 }),
        (0.02, Fault::Unregistered),
        (0.01, Fault::BadDeviceToken),
        (0.03, Fault::TooManyRequests { retry_after: None }),
        (
            0.0005,
            Fault::TooManyRequests {
                retry_after: Some(1),
            },
        ),
        (0.03, Fault::InternalError),
        (0.02, Fault::Unavailable { retry_after: None }),
        (
            0.0005,
            Fault::Unavailable {
                retry_after: Some(1),
            },
        ),
    ];
    FaultPlan {
        seed: Some(seed),
        shares: faults.map(|(share, fault)| Share { share, fault }).into(),
        ..FaultPlan::default()
    }
}

/// A phone in its owner's hand: shows what a push wakes it for, once, and
/// approves it.
struct Handset {
    phone: Phone,
    vendor: Vendor,
    /// All it ever had, the present one last.
    tokens: Mutex<Vec<String>>,
    shown: Mutex<BTreeMap<String, usize>>,
}

impl Handset {
    fn listen(self: &Arc<Self>, mut pushes: Pushes, phones: &Arc<Mutex<JoinSet<()>>>) {
        let this = self.clone();
        phones.lock().spawn(async move {
            while let Some(push) = pushes.recv().await {
                if Said::of(&push).kind == "challenge" {
                    this.look().await;
                }
            }
        });
    }

    async fn look(&self) {
        for challenge in self.phone.list_pending().await.unwrap().challenges {
            let id = challenge.id().to_owned();
            {
                let mut shown = self.shown.lock();
                if shown.contains_key(&id) {
                    continue;
                }
                shown.insert(id.clone(), 1);
            }
            let acknowledged = self.phone.acknowledge(&id).await;
            let answered = self
                .phone
                .respond(&challenge, Decision::Approve, "")
                .await
                .map(drop);
            for result in [acknowledged, answered] {
                if let Err(error) = result {
                    assert_eq!(
                        error.reason().as_deref(),
                        Some("ALREADY_DECIDED"),
                        "{error}"
                    );
                }
            }
        }
    }
}

struct User {
    world: Arc<PushWorld>,
    name: String,
    handsets: Vec<Arc<Handset>>,
    phones: Arc<Mutex<JoinSet<()>>>,
    rng: StdRng,
}

impl User {
    async fn new(
        world: Arc<PushWorld>,
        n: usize,
        seed: u64,
        phones: Arc<Mutex<JoinSet<()>>>,
    ) -> Self {
        let name = format!("user-{n}");
        let mut handsets = Vec::new();
        for k in 0..=(n % 3) {
            let vendor = [Vendor::Apns, Vendor::Fcm][(n + k) % 2];
            let made = world.phone(vendor, &name).await;
            let handset = Arc::new(Handset {
                phone: made.phone,
                vendor,
                tokens: Mutex::new(vec![made.token]),
                shown: Mutex::default(),
            });
            handset.listen(made.pushes, &phones);
            handsets.push(handset);
        }
        Self {
            world,
            name,
            handsets,
            phones,
            rng: StdRng::seed_from_u64(seed.wrapping_add(n as u64)),
        }
    }

    /// One sign-in to its end.
    async fn sign_in(&mut self) -> v1::Challenge {
        // Phones that hear of nothing approve nothing: an operator forgives it.
        let request = v1::UnlockUserRequest {
            tenant_id: self.world.tenant.id.clone(),
            user_id: self.name.clone(),
        };
        self.world
            .broker
            .admin()
            .unlock_user(request)
            .await
            .unwrap();
        let asked = self.world.ask(&self.name).await;
        if self.rng.random::<f64>() < 0.03 {
            // A new token while the push with the old one is on its way.
            let which = self.rng.random_range(0..self.handsets.len());
            self.renew(&self.handsets[which].clone()).await;
        }
        let mut approvals = self.world.broker.approvals(&self.world.tenant);
        let request = v1::WatchChallengeRequest {
            challenge_id: asked.challenge_id.clone(),
        };
        let mut changes = approvals
            .watch_challenge(request)
            .await
            .unwrap()
            .into_inner();
        let mut given_up = false;
        let mut last = asked;
        while let Some(change) = changes.message().await.unwrap() {
            last = change.challenge.unwrap();
            if last.state() == S::Pending && !given_up && self.in_vain(&last) {
                given_up = true;
                let request = v1::CancelChallengeRequest {
                    challenge_id: last.challenge_id.clone(),
                };
                if let Err(status) = approvals.cancel_challenge(request).await {
                    assert_eq!(reason(&status), "ALREADY_DECIDED");
                }
            }
        }
        // An app whose token died tells of a new one when it is opened.
        for handset in self.handsets.clone() {
            let reason = delivery(&last, &handset.phone).reason;
            if DEAD.contains(&reason.as_str()) || reason.starts_with("push token") {
                self.renew(&handset).await;
            }
            if reason == "breaker open" {
                // Nobody signs in again and again without a pause.
                let pause = self.rng.random_range(100..300);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        last
    }

    async fn renew(&self, handset: &Arc<Handset>) {
        let renewed = self.world.registration(handset.vendor);
        let pushes = self
            .world
            .gateways
            .devices()
            .connect(&renewed.token)
            .unwrap();
        handset.tokens.lock().push(renewed.token.clone());
        handset.listen(pushes, &self.phones);
        handset
            .phone
            .update_push_token(Some(renewed))
            .await
            .unwrap();
    }

    /// Whether no phone will ever hear of it: each prompt has been tried, and no
    /// gateway has handed one over. (The broker can't know; the user gives up.)
    fn in_vain(&self, challenge: &v1::Challenge) -> bool {
        let tried = |delivery: &v1::Delivery| matches!(delivery.state(), D::Accepted | D::Failed);
        if !challenge.deliveries.iter().all(tried) {
            return false;
        }
        let mut heard = self.world.gateways.received();
        heard.retain(|arrival| reached_a_phone(arrival));
        heard.retain(|arrival| {
            let of = |handset: &Arc<Handset>| handset.tokens.lock().contains(&arrival.token);
            self.handsets.iter().any(of)
        });
        !heard.iter().any(|arrival| is_about(arrival, challenge))
    }
}

fn reached_a_phone(arrival: &Arrival) -> bool {
    matches!(
        arrival.fate,
        Some(Fate::Delivered | Fate::Duplicated | Fate::Stored)
    )
}

fn is_about(arrival: &Arrival, challenge: &v1::Challenge) -> bool {
    Said::read(&arrival.payload)
        .is_some_and(|said| said.kind == "challenge" && said.challenge_id == challenge.challenge_id)
}

/// The prompts and withdrawals that reached the gateways, by challenge and
/// token.
fn by_prompt(world: &PushWorld, kind: &str) -> HashMap<(String, String), Vec<Arc<Arrival>>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for arrival in world.gateways.received() {
        let Some(said) = Said::read(&arrival.payload) else {
            continue;
        };
        if said.kind == kind {
            let key = (said.challenge_id, token_of(&arrival));
            found.entry(key).or_default().push(arrival);
        }
    }
    found
}

fn token_of(arrival: &Arrival) -> String {
    // An FCM request that was not processed has it in the body only.
    match arrival.payload["message"]["token"].as_str() {
        Some(token) => token.to_owned(),
        None => arrival.token.clone(),
    }
}

/// The gateway said yes, and nothing hid its answer.
fn was_clearly_taken(arrival: &Arrival) -> bool {
    arrival.accepted()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos() {
    let seed = setting("COUNTERSIGN_CHAOS_SEED").unwrap_or_else(rand::random);
    let count =
        setting("COUNTERSIGN_CHAOS_COUNT").map_or(COUNT, |count| usize::try_from(count).unwrap());
    println!("COUNTERSIGN_CHAOS_SEED={seed} COUNTERSIGN_CHAOS_COUNT={count}");
    let config = GatewaysConfig {
        keep_received: usize::MAX,
        ..GatewaysConfig::default()
    };
    let world = Arc::new(PushWorld::start_with(config, Clock::system(), None).await);
    let phones = Arc::new(Mutex::new(JoinSet::new()));
    let mut users = JoinSet::new();
    for n in 0..USERS {
        users.spawn(User::new(world.clone(), n, seed, phones.clone()));
    }
    let users = users.join_all().await;
    world.gateways.apns().faults().set(plan(seed)).unwrap();
    world
        .gateways
        .fcm()
        .faults()
        .set(plan(seed.wrapping_add(1)))
        .unwrap();

    let mut running = JoinSet::new();
    for mut user in users {
        running.spawn(async move {
            let mut ended = Vec::new();
            for _ in 0..count.div_ceil(USERS) {
                ended.push(user.sign_in().await);
            }
            (user, ended)
        });
    }
    let ended = tokio::time::timeout(PATIENCE, running.join_all())
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: some challenges never end"));
    for gateway in [
        world.gateways.apns().faults(),
        world.gateways.fcm().faults(),
    ] {
        gateway.clear();
    }

    let prompts = by_prompt(&world, "challenge");
    let mut ends: BTreeMap<_, usize> = BTreeMap::new();
    for (user, challenges) in &ended {
        for challenge in challenges {
            *ends.entry(end(challenge).1.as_str_name()).or_default() += 1;
            check(user, challenge, &prompts);
        }
    }
    println!("{ends:?}");
    let ended_by = |reason: R| ends.get(reason.as_str_name()).copied().unwrap_or_default();
    // Otherwise the run has shown little.
    assert!(ended_by(R::UserApproved) > count / 2, "{ends:?}");
    assert!(ended_by(R::CancelledByCaller) > 0, "{ends:?}");
    assert!(ended_by(R::Unreachable) > 0, "{ends:?}");

    no_prompt_is_doubled(&prompts);
    let users: Vec<_> = ended.iter().map(|(user, _)| user).collect();
    no_live_token_is_lost(&world, &users).await;
    withdrawals_fit_their_prompts(&world, &ended, &prompts).await;
}

/// It has ended, and each device that could be reached was.
fn check(
    user: &User,
    challenge: &v1::Challenge,
    prompts: &HashMap<(String, String), Vec<Arc<Arrival>>>,
) {
    assert_ne!(challenge.state(), S::Pending);
    let nothing = Vec::new();
    let (mut on_a_screen, mut seen) = (false, false);
    for handset in &user.handsets {
        let tried: Vec<_> = handset
            .tokens
            .lock()
            .iter()
            .flat_map(|token| {
                let key = (challenge.challenge_id.clone(), token.clone());
                prompts.get(&key).unwrap_or(&nothing).clone()
            })
            .collect();
        let shown = handset.shown.lock().contains_key(&challenge.challenge_id);
        // A gateway that calls a token dead says that the app is gone, and
        // whatever it showed with it.
        let delivery = delivery(challenge, &handset.phone);
        let gone = DEAD.contains(&delivery.reason.as_str());
        on_a_screen |= !gone && tried.iter().any(|arrival| reached_a_phone(arrival));
        // Woken for another, a phone sees all that is pending.
        seen |= shown;
        match delivery.state() {
            D::Failed => {
                // There was a reason, and it was not ours.
                let spared = ["breaker open", "too many pushes in flight"];
                let known = spared.contains(&delivery.reason.as_str())
                    || delivery.reason.starts_with("push token")
                    // By a GOAWAY or a reset meant for another.
                    || delivery.reason.starts_with("connection")
                    || delivery.reason.starts_with("stream");
                let refused = !tried.is_empty() && tried.iter().all(|one| one.fault.is_some());
                assert!(known || refused, "{delivery:?} {tried:#?}");
            }
            D::Accepted | D::Fetched | D::Shown | D::Answered => {
                assert!(!tried.is_empty() || shown, "{delivery:?}");
            }
            // The end came first.
            D::Queued | D::Unspecified => {}
        }
    }
    match end(challenge) {
        (S::Approved, R::UserApproved) => assert!(seen),
        (S::Denied, R::Unreachable) => {
            assert!(
                !on_a_screen,
                "ended under the user's eyes: {:#?}",
                challenge.deliveries
            );
            let failed = |delivery: &v1::Delivery| delivery.state() == D::Failed;
            assert!(challenge.deliveries.iter().all(failed));
        }
        (S::Cancelled, R::CancelledByCaller) => {}
        other => panic!("{other:?}"),
    }
}

/// Every try of a prompt is the same push, and what was clearly taken is never
/// tried again.
fn no_prompt_is_doubled(prompts: &HashMap<(String, String), Vec<Arc<Arrival>>>) {
    for tries in prompts.values() {
        if tries[0].gateway == "apns" {
            let ids: BTreeSet<_> = tries.iter().map(|one| &one.id).collect();
            assert_eq!(ids.len(), 1, "{tries:#?}");
        }
        let (_, earlier) = tries.split_last().unwrap();
        let again = earlier.iter().find(|one| was_clearly_taken(one));
        assert!(again.is_none(), "{tries:#?}");
    }
}

/// A phone whose present token no gateway has spoken against has it still.
async fn no_live_token_is_lost(world: &PushWorld, users: &[&User]) {
    let mut doubted = BTreeSet::new();
    for arrival in world.gateways.received() {
        let said = arrival.reason.as_deref().unwrap_or_default();
        if DEAD.contains(&said) {
            doubted.insert(token_of(&arrival));
        }
    }
    assert!(!doubted.is_empty(), "no token was ever called dead");
    let mut checked = 0;
    for handset in users.iter().flat_map(|user| &user.handsets) {
        let token = handset.tokens.lock().last().unwrap().clone();
        if !doubted.contains(&token) {
            assert!(world.has_token(&handset.phone).await);
            checked += 1;
        }
    }
    assert!(checked > 0);
}

/// What may be on a screen is taken away when it needs no answer any more; and
/// nothing else.
async fn withdrawals_fit_their_prompts(
    world: &PushWorld,
    ended: &[(User, Vec<v1::Challenge>)],
    prompts: &HashMap<(String, String), Vec<Arc<Arrival>>>,
) {
    let mut wanted = 0;
    for (user, challenges) in ended {
        for challenge in challenges {
            for handset in &user.handsets {
                if handset.phone.device_id() == challenge.decided_by_device_id {
                    continue;
                }
                let tokens = handset.tokens.lock().clone();
                wanted += usize::from(tokens.into_iter().any(|token| {
                    let key = (challenge.challenge_id.clone(), token);
                    prompts
                        .get(&key)
                        .is_some_and(|tries| tries.iter().any(|one| was_clearly_taken(one)))
                }));
            }
        }
    }
    // Those of the last challenges may still be on their way: tried again after
    // a second, some after a breaker's pause.
    let tries = async {
        loop {
            let tried = withdrawals_tried(&world.page("/metrics").await);
            if tried >= wanted {
                break tried;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let tried = tokio::time::timeout(Duration::from_secs(60), tries).await;
    assert!(tried.is_ok(), "{wanted} withdrawals wanted");

    let mut unread = world.gateways.received();
    unread.retain(|arrival| arrival.payload.is_null());
    let mut promptless = 0;
    for (key, withdrawn) in by_prompt(world, "withdraw") {
        let (challenge_id, token) = &key;
        let owner = ended
            .iter()
            .flat_map(|(user, _)| &user.handsets)
            .find(|handset| handset.tokens.lock().contains(token))
            .unwrap();
        let first_prompt = owner
            .tokens
            .lock()
            .iter()
            .filter_map(|token| prompts.get(&(challenge_id.clone(), token.clone())))
            .flatten()
            .map(|prompt| prompt.seq)
            .min();
        let first = withdrawn.iter().map(|one| one.seq).min().unwrap();
        match first_prompt {
            Some(prompt) => assert!(prompt < first, "overtaken: {withdrawn:#?}"),
            // Cut off before the emulator had read what it was, which the
            // broker can't know.
            None if unread
                .iter()
                .any(|one| one.seq < first && same_prompt(one, &withdrawn[0])) => {}
            None => promptless += 1,
        }
        let taken = withdrawn
            .iter()
            .filter(|one| was_clearly_taken(one))
            .count();
        assert!(taken <= 1, "{withdrawn:#?}");
    }
    // FCM requests have all they say in the body, and a connection that ends
    // takes with it what was on it.
    let unread = unread.iter().filter(|one| one.gateway == "fcm").count();
    let ended = world.gateways.apns().counters().goaways;
    assert!(
        promptless <= unread + usize::try_from(ended).unwrap(),
        "{promptless} withdrawn without a prompt"
    );
}

/// Whether two requests to APNs are about the same prompt.
fn same_prompt(one: &Arrival, other: &Arrival) -> bool {
    let collapse_id = |arrival: &Arrival| arrival.headers.get("apns-collapse-id").cloned();
    collapse_id(one).is_some() && collapse_id(one) == collapse_id(other)
}

fn withdrawals_tried(metrics: &str) -> usize {
    metrics
        .lines()
        .filter(|line| {
            line.starts_with("countersign_pushes_total") && line.contains("kind=\"withdraw\"")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}
