//! What one approval flow costs in the store: the calls that the broker makes
//! for a flow over `Subscribe`, and nothing else.
//!
//! ```text
//! cargo bench -p countersign-server --bench store_flow -- --callers 64 --flows 200
//! valgrind --tool=callgrind target/release/deps/store_flow-* --callers 64 --flows 40
//! ```
//!
//! Prints per flow: commands, rows put and deleted, bytes, batches, syncs, and
//! CPU by thread. Times depend on the machine; instruction counts (callgrind,
//! the difference of two runs with other `--flows`) and ratios do not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use countersign_proto::{
    signing::{PrivateKey, PublicKey, sha256},
    v1::KeyAlgorithm,
};
use countersign_server::{
    domain::{
        api_key::{ApiKey, ApiKeyId, PresentedKey, Role},
        audit::{Actor, By},
        browser::Remembering,
        challenge::{
            Challenge, Delivery, DeliveryState, DeviceProof, Event, Method, Road, SignedBody,
        },
        code::Codes,
        device::{Device, KeyProtection, Platform},
        ids::{ChallengeId, DeviceId, EnrollmentId, IdRandom, TenantId, UserId},
        policy::{Fatigue, PendingLimit, Policy},
        response::{Answer, Choice, UserVerification},
        risk::Origin,
        tenant::Tenant,
        ticket::{Ticket, TicketCode, TicketState},
        time::Timestamp,
    },
    store::{
        Created, Decided, Hint, NewChallenge, Redeemed, Store, embedded::EmbeddedStore,
        engine::EngineOptions,
    },
};
use tokio::sync::Notify;

#[derive(Parser)]
struct Args {
    /// How many flows at a time.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// Flows of each caller that count.
    #[arg(long, default_value_t = 100)]
    flows: usize,
    /// Flows of each caller before those.
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
    /// Registered devices, each of a user of its own.
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// Challenges that stay pending.
    #[arg(long, default_value_t = 0)]
    pending: usize,
    /// In the end those time out together, while steps of others go on.
    #[arg(long)]
    expire: bool,
    /// Each phone also says that it shows the prompt.
    #[arg(long)]
    acknowledge: bool,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Where the store is made; default: a temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only opens what `--dir` holds.
    #[arg(long)]
    reopen: bool,
    /// Ignored: cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const TTL: Duration = Duration::from_secs(60);
const KEY: &str = "3fbc1f8a2a7d4be0";

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Spread as random ones are.
fn random() -> IdRandom {
    sha256(&number().to_be_bytes())[..10].try_into().unwrap()
}

fn bytes16() -> [u8; 16] {
    sha256(&number().to_be_bytes())[..16].try_into().unwrap()
}

fn now(began: Instant) -> Timestamp {
    START.after(began.elapsed())
}

fn operator() -> By {
    By {
        actor: Actor::Operator,
        address: "192.0.2.1".into(),
    }
}

struct World {
    store: Arc<EmbeddedStore>,
    tenant: TenantId,
    api_key: ApiKeyId,
    devices: Vec<Device>,
    waiting: Vec<Notify>,
    /// Which caller waits for a challenge.
    callers: parking_lot::Mutex<std::collections::HashMap<ChallengeId, usize>>,
    began: Instant,
}

impl World {
    async fn build(store: Arc<EmbeddedStore>, args: &Args) -> Arc<Self> {
        let tenant = TenantId::new(START, &random());
        let key = PresentedKey::new(random()[..8].try_into().unwrap(), &[7; 32]);
        let policy = Policy {
            fatigue: Fatigue {
                budget: u32::MAX,
                ..Fatigue::default()
            },
            ..Policy::default()
        };
        store
            .add_tenant(
                Tenant {
                    id: tenant,
                    display_name: "Eagle IT BVBA".into(),
                    policy,
                    create_time: START,
                },
                operator(),
            )
            .await
            .unwrap();
        let api_key = ApiKey {
            id: key.id.clone(),
            secret_hash: key.secret_hash(),
            role: Role::Idp,
            tenant: Some(tenant),
            display_name: "sign-in page".into(),
            create_time: START,
            revoke_time: None,
        };
        store.add_api_key(api_key, operator()).await.unwrap();
        let public = PrivateKey::from_ed25519_seed(&[7; 32]).public_bytes();
        let public = PublicKey::from_bytes(KeyAlgorithm::Ed25519, &public).unwrap();
        let count = args.devices.max(args.callers * 2);
        let made: Arc<parking_lot::Mutex<Vec<Device>>> = Arc::default();
        let mut enrolling = tokio::task::JoinSet::new();
        for part in 0..64 {
            let (store, made, public) = (store.clone(), made.clone(), public.clone());
            enrolling.spawn(async move {
                for nth in (part..count).step_by(64) {
                    let device = enrol(&store, tenant, nth, public.clone()).await;
                    made.lock().push(device);
                }
            });
        }
        enrolling.join_all().await;
        let devices = std::mem::take(&mut *made.lock());
        let world = Arc::new(Self {
            store,
            tenant,
            api_key: key.id,
            devices,
            waiting: (0..args.callers).map(|_| Notify::new()).collect(),
            callers: parking_lot::Mutex::default(),
            began: Instant::now(),
        });
        let told = Arc::downgrade(&world);
        world.store.listen(Arc::new(move |hint| {
            if let (Hint::Challenge(id), Some(world)) = (hint, told.upgrade())
                && let Some(caller) = world.callers.lock().get(&id)
            {
                world.waiting[*caller].notify_one();
            }
        }));
        world
    }

    fn question(&self, device: &Device, account_origin: Origin) -> NewChallenge {
        let now = now(self.began);
        let id = ChallengeId::new(now, &random());
        let expire_time = now.after(TTL);
        NewChallenge {
            challenge: Challenge {
                id,
                tenant: self.tenant,
                user: device.user.clone(),
                api_key: self.api_key.clone(),
                method: Method::Push,
                number: "42".into(),
                create_time: now,
                expire_time,
                prompt_expire_time: expire_time,
                fallback_time: None,
                codes: Codes::new(&Policy::default().codes),
                collapse_id: "C0ffeeC0ffeeC0ffeeC0ff".into(),
                deliveries: vec![Delivery {
                    device: device.id,
                    road: Road::Subscribe,
                    state: DeliveryState::Accepted,
                    reason: String::new(),
                    update_time: now,
                    pushed: false,
                }],
                outcome: None,
                remembering: Remembering::default(),
                origin: account_origin,
                risks: Vec::new(),
            },
            signed: SignedBody {
                body: vec![7; 300],
                key_id: KEY.into(),
                signature: vec![7; 64],
            },
            idempotency: Some((bytes16(), [1; 32])),
            pending_limit: PendingLimit::Supersede,
            pushes: Vec::new(),
            code: None,
            browser: None,
            by: By {
                actor: Actor::ApiKey(self.api_key.clone()),
                address: "192.0.2.7".into(),
            },
        }
    }

    /// What `authenticate_key` reads.
    async fn authenticate(&self) {
        assert!(self.store.api_key(&self.api_key).await.unwrap().is_some());
        assert!(self.store.tenant(self.tenant).await.unwrap().is_some());
    }

    /// One flow, with the reads of each of its calls.
    async fn flow(&self, caller: usize, acknowledge: bool, device: &Device) {
        // CreateChallenge.
        self.authenticate().await;
        assert!(self.store.tenant(self.tenant).await.unwrap().is_some());
        let found = self.store.devices_of(self.tenant, &device.user).await;
        assert_eq!(found.unwrap().len(), 1);
        let account = self.store.account(self.tenant, &device.user).await.unwrap();
        assert!(account.lock.is_none());
        let question = self.question(device, Origin::default());
        let id = question.challenge.id;
        self.callers.lock().insert(id, caller);
        let created = self.store.create(question).await.unwrap();
        assert!(matches!(created, Created::New { .. }), "{created:?}");

        // WaitChallenge finds it pending.
        self.authenticate().await;
        assert!(self.store.api_key(&self.api_key).await.unwrap().is_some());
        let shown = self.store.challenge(self.tenant, id).await.unwrap();
        assert!(shown.unwrap().0.outcome.is_none());

        if acknowledge {
            assert!(self.store.device(device.id).await.unwrap().is_some());
            assert!(
                self.store
                    .challenge(self.tenant, id)
                    .await
                    .unwrap()
                    .is_some()
            );
            self.store
                .note_delivery(
                    self.tenant,
                    id,
                    device.id,
                    DeliveryState::Shown,
                    now(self.began),
                )
                .await
                .unwrap();
        }

        // Respond.
        let phone = self.store.device(device.id).await.unwrap().unwrap();
        assert!(
            self.store
                .challenge(self.tenant, id)
                .await
                .unwrap()
                .is_some()
        );
        let answer = Answer {
            choice: Choice::Approve,
            number: "42".into(),
            proof: DeviceProof {
                device: phone.id,
                body: vec![7; 200],
                signature: vec![9; 64],
                public_key: phone.public_key.clone(),
                key_protection: phone.key_protection,
                user_verification: UserVerification::Pin,
            },
        };
        let decided = self
            .store
            .decide(
                self.tenant,
                id,
                Event::Answer(Box::new(answer)),
                now(self.began),
                KEY.into(),
                By {
                    actor: Actor::Device(phone.id),
                    address: "198.51.100.7".into(),
                },
            )
            .await
            .unwrap();
        assert!(matches!(decided, Decided::Recorded(_)), "{decided:?}");

        // WaitChallenge wakes up and looks again.
        loop {
            self.waiting[caller].notified().await;
            assert!(self.store.api_key(&self.api_key).await.unwrap().is_some());
            let (challenge, _) = self
                .store
                .challenge(self.tenant, id)
                .await
                .unwrap()
                .unwrap();
            if challenge.outcome.is_some() {
                break;
            }
        }
        assert!(
            self.store
                .revocation(self.tenant, id)
                .await
                .unwrap()
                .is_none()
        );
        self.callers.lock().remove(&id);
    }

    /// So many challenges that nobody answers, each of a user of its own.
    async fn ask(self: &Arc<Self>, count: usize) {
        let mut asking = tokio::task::JoinSet::new();
        for part in 0..64 {
            let world = self.clone();
            asking.spawn(async move {
                for nth in (part..count).step_by(64) {
                    let device = &world.devices[nth % world.devices.len()];
                    let mut question = world.question(device, Origin::default());
                    let user = format!("waiting-{nth:07}@example.com");
                    question.challenge.user = UserId::parse("user", &user).unwrap();
                    world.store.create(question).await.unwrap();
                }
            });
        }
        asking.join_all().await;
    }

    /// Ends what is pending as the broker's sweep does.
    async fn expire(self: &Arc<Self>) {
        let world = self.clone();
        let sweep = tokio::spawn(async move {
            let (began, at) = (Instant::now(), START.after(Duration::from_secs(86_400)));
            let mut ended = 0;
            loop {
                let step = world.store.expire_due(at, 256, KEY.into()).await.unwrap();
                ended += step.len();
                if step.len() < 256 {
                    return (ended, began.elapsed());
                }
            }
        });
        let mut took = Vec::new();
        // Steps that write nothing wait for their turn all the same.
        for device in self.devices.iter().cycle() {
            if sweep.is_finished() {
                break;
            }
            let began = Instant::now();
            let nothing = ChallengeId::new(START, &random());
            let shown = DeliveryState::Shown;
            let step = self
                .store
                .note_delivery(self.tenant, nothing, device.id, shown, START);
            step.await.unwrap();
            took.push(began.elapsed());
        }
        let (ended, swept) = sweep.await.unwrap();
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!(
            "{ended} expired in {swept:?}; meanwhile {} steps of others: p50 {:?}, p99 {:?}, longest {:?}",
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }

    async fn run(self: &Arc<Self>, callers: usize, flows: usize, acknowledge: bool) {
        let mut running = tokio::task::JoinSet::new();
        for caller in 0..callers {
            let world = self.clone();
            running.spawn(async move {
                let own = world.devices.len() / callers;
                for nth in 0..flows {
                    // All devices in turn, no two callers the same.
                    let device = &world.devices[caller + callers * (nth % own)];
                    world.flow(caller, acknowledge, device).await;
                }
            });
        }
        running.join_all().await;
    }
}

async fn enrol(
    store: &Arc<EmbeddedStore>,
    tenant: TenantId,
    nth: usize,
    public_key: PublicKey,
) -> Device {
    let user = UserId::parse("user", &format!("user-{nth:07}@example.com")).unwrap();
    let n = number();
    let digits: [u8; 20] = std::array::from_fn(|place| (n >> (place % 8 * 5)) as u8);
    let code = TicketCode::new(&digits);
    let ticket = Ticket {
        id: EnrollmentId::new(START, &random()),
        tenant,
        user: user.clone(),
        locator: code.locator().to_owned(),
        secret_hash: code.secret_hash(),
        create_time: START,
        expire_time: START.after(Duration::from_secs(600)),
        wrong_tries: 0,
        state: TicketState::Open,
    };
    store.add_ticket(ticket, operator()).await.unwrap();
    let device = Device {
        id: DeviceId::new(START, &random()),
        tenant,
        user,
        public_key,
        key_protection: KeyProtection::Hardware,
        platform: Platform::Ios,
        display_name: "Tom's phone".into(),
        language: "nl-BE".into(),
        app_version: "1.0".into(),
        push: None,
        encryption_key: Some([3; 32]),
        create_time: START,
        last_used_time: None,
    };
    match store
        .redeem(code, device, START, "192.0.2.2".into())
        .await
        .unwrap()
    {
        Redeemed::Registered { device, .. } => *device,
        other => panic!("{other:?}"),
    }
}

/// CPU time of this process' threads so far, by name, in nanoseconds
/// (`/proc/self/task/*/schedstat`, proc(5)).
fn cpu() -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        let stat = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let nanos: u64 = stat
            .split_whitespace()
            .next()
            .and_then(|first| first.parse().ok())
            .unwrap_or_default();
        *used.entry(name.trim().to_owned()).or_insert(0) += nanos;
    }
    used
}

fn main() {
    let args = Args::parse();
    let made;
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            made = tempfile::tempdir().unwrap();
            made.path().join("store")
        }
    };
    let options = EngineOptions::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        if args.reopen {
            let began = Instant::now();
            let store = EmbeddedStore::open(&dir, options).unwrap();
            println!("opened in {:?}", began.elapsed());
            store.close().await.unwrap();
            return;
        }
        let store = Arc::new(EmbeddedStore::create(&dir, options).unwrap());
        // As the broker does after its start.
        while !store.index_for_removal().await.unwrap() {}
        let world = World::build(store.clone(), &args).await;
        world.ask(args.pending).await;
        world.run(args.callers, args.warm_up, args.acknowledge).await;
        let (before, used_before, began) = (store.stats(), cpu(), Instant::now());
        world.run(args.callers, args.flows, args.acknowledge).await;
        let (after, used_after, took) = (store.stats(), cpu(), began.elapsed());
        let flows = (args.callers * args.flows) as f64;
        let per = |before: u64, after: u64| (after - before) as f64 / flows;
        println!(
            "{} callers, {} flows, {} devices: {:.0} flows/s",
            args.callers,
            flows,
            world.devices.len(),
            flows / took.as_secs_f64()
        );
        println!(
            "per flow: {:.2} commands, {:.2} puts, {:.2} deletes, {:.0} bytes, {:.3} batches, {:.3} syncs",
            per(before.commands, after.commands),
            per(before.puts, after.puts),
            per(before.deletes, after.deletes),
            per(before.bytes, after.bytes),
            per(before.batches, after.batches),
            per(before.syncs, after.syncs),
        );
        let mut total = 0.0;
        for (name, nanos) in &used_after {
            let micros = per(used_before.get(name).copied().unwrap_or(0), *nanos) / 1e3;
            total += micros;
            println!("  {name:<16} {micros:7.1} us of CPU");
        }
        println!("  {:<16} {total:7.1} us of CPU", "all");
        if args.expire {
            world.expire().await;
        }
        store.close().await.unwrap();
    });
}
