//! SIGKILL in the middle of load, again and again on the same directory.

use std::{collections::BTreeSet, sync::Arc};

use countersign_proto::v1::{self, ChallengeState as S, Decision};
use countersign_tests::process::BrokerProcess;
use device_sim::phone::Phone;
use tokio::task::JoinSet;

use super::{
    Installation, Provider,
    ledger::{Ledger, SignIn, end_of},
    load::{self, SplitMix},
    moved,
};

const ROUNDS: u64 = 20;
const USERS: usize = 4;

fn seed() -> u64 {
    let given = std::env::var("COUNTERSIGN_TEST_SEED").ok();
    let seed = given.map_or_else(
        || u64::from_le_bytes(std::array::from_fn(|_| rand::random())),
        |text| text.parse().unwrap(),
    );
    println!("COUNTERSIGN_TEST_SEED={seed} repeats this run's choices");
    seed
}

fn user(n: usize) -> String {
    format!("tom{n}@example.be")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_or_changed_by_kills() {
    let mut random = SplitMix(seed());
    let (installation, mut broker) = Installation::new().await;
    let ledger = Ledger::new();
    let mut phones = Vec::new();
    for n in 0..USERS {
        let provider = installation.provider(&broker);
        phones.push(provider.enroll(&user(n)).await.unwrap());
    }
    for round in 0..ROUNDS {
        let before: BTreeSet<_> = ledger.sign_ins.lock().keys().cloned().collect();
        let phones_before = ledger.phones.lock().len();
        let further = 1 + random.below(40) as usize;
        ledger.begin(further);
        let mut callers = JoinSet::new();
        for (n, phone) in phones.iter().enumerate() {
            callers.spawn(load::run(
                ledger.clone(),
                installation.provider(&broker),
                phone.clone(),
                user(n),
                SplitMix(random.next()),
            ));
        }
        tokio::select! {
            () = ledger.round_over() => {}
            // None ends while the broker runs.
            ended = callers.join_next() => ended.unwrap().unwrap(),
        }
        broker.kill();
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        broker = installation.start();
        for phone in &mut phones {
            *phone = moved(phone, &broker);
        }
        let provider = installation.provider(&broker);
        let sign_ins = ledger.sign_ins.lock().clone();
        let of_round = sign_ins
            .into_iter()
            .filter(|(name, _)| !before.contains(name));
        let (known, unknown): (Vec<_>, Vec<_>) =
            of_round.partition(|(_, sign_in)| sign_in.created.is_some());
        println!(
            "round {round}: killed after {further}; {} sign-ins acknowledged, {} not",
            known.len(),
            unknown.len()
        );
        // First what is known of, then what may supersede it.
        for (name, sign_in) in known.into_iter().chain(unknown) {
            settle(&ledger, &provider, &phones, &name, &sign_in).await;
        }
        let enrolled = ledger.phones.lock()[phones_before..].to_vec();
        for phone in enrolled {
            moved(&phone, &broker).list_pending().await.unwrap();
        }
    }
    everything_is_there(&ledger, &installation, &broker).await;
    assert!(broker.terminate().success());
    broker = installation.start();
    everything_is_there(&ledger, &installation, &broker).await;
}

/// Checks one sign-in after a kill and brings it to its end.
async fn settle(
    ledger: &Arc<Ledger>,
    provider: &Provider,
    phones: &[Phone],
    name: &str,
    sign_in: &SignIn,
) {
    // The same request gives the same challenge, whether its answer was lost
    // or not, and however often.
    let created = provider.create(sign_in.request.clone()).await.unwrap();
    let id = created.challenge_id.clone();
    match &sign_in.created {
        Some(acknowledged) => assert!(is_same(acknowledged, &created)),
        None => ledger.created(name, created.clone()),
    }
    let again = provider.create(sign_in.request.clone()).await.unwrap();
    assert_eq!(again, created);
    let found = provider.get(&id).await.unwrap();
    assert_eq!(found, created);
    if found.state() != S::Pending {
        ledger.saw(name, &found);
        return;
    }
    let (acknowledged, seen) = (sign_in.acknowledged, &sign_in.seen);
    assert_eq!(acknowledged, None, "an acknowledged decision is lost");
    assert!(seen.is_none(), "a decision that was seen is lost");
    // Pending: a caller can wait again, and the phone can answer.
    let waiting = tokio::spawn({
        let (provider, id) = (provider.clone(), id.clone());
        async move { provider.wait(&id).await.unwrap() }
    });
    let mut phone = phones.iter();
    let phone = phone
        .find(|phone| phone.user_id() == sign_in.request.user_id)
        .unwrap();
    let pending = phone.list_pending().await.unwrap().challenges;
    let asked: Vec<_> = pending.iter().filter(|asked| asked.id() == id).collect();
    assert_eq!((pending.len(), asked.len()), (1, 1));
    ledger.trying(name, end_of(Decision::Approve));
    let told = phone
        .respond(asked[0], Decision::Approve, "")
        .await
        .unwrap();
    ledger.ended(name, (told.state(), told.reason()));
    ledger.saw(name, &waiting.await.unwrap());
}

/// All that does not change while a challenge goes on.
fn is_same(one: &v1::Challenge, other: &v1::Challenge) -> bool {
    let lasting = |challenge: &v1::Challenge| {
        (
            challenge.challenge_id.clone(),
            challenge.user_id.clone(),
            challenge.create_time,
            challenge.expire_time,
            challenge.signed_challenge.clone(),
        )
    };
    lasting(one) == lasting(other)
}

async fn everything_is_there(
    ledger: &Arc<Ledger>,
    installation: &Installation,
    broker: &BrokerProcess,
) {
    let provider = installation.provider(broker);
    let sign_ins = ledger.sign_ins.lock().clone();
    let mut receipts = BTreeSet::new();
    for (name, sign_in) in &sign_ins {
        let created = sign_in.created.as_ref().unwrap();
        let found = provider.get(&created.challenge_id).await.unwrap();
        assert!(is_same(created, &found));
        ledger.saw(name, &found);
        assert!(receipts.insert(found.receipt), "one receipt for two");
    }
    let phones = ledger.phones.lock().clone();
    for phone in &phones {
        let phone = moved(phone, broker);
        assert!(phone.list_pending().await.unwrap().challenges.is_empty());
    }
    println!(
        "{} acknowledgements, {} sign-ins, {} phones",
        ledger.acknowledged(),
        sign_ins.len(),
        phones.len()
    );
}
