//! Identity providers that ask and wait, phones that answer, until the broker
//! is gone.

use std::sync::Arc;

use countersign_proto::v1::{ChallengeState as S, Decision, DecisionReason as R};
use device_sim::phone::Phone;

use super::{
    Provider, Unacknowledged,
    ledger::{Ledger, end_of},
    sign_in,
};

/// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014).
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// One user's identity provider and phone, for as long as there is a broker.
pub(super) async fn run(
    ledger: Arc<Ledger>,
    provider: Provider,
    phone: Phone,
    user: String,
    mut random: SplitMix,
) {
    let mut waiters = tokio::task::JoinSet::new();
    let outcome = work(&ledger, &provider, &phone, &user, &mut random, &mut waiters).await;
    ledger.check(&outcome.unwrap_err());
    while let Some(waiter) = waiters.join_next().await {
        waiter.unwrap();
    }
}

async fn work(
    ledger: &Arc<Ledger>,
    provider: &Provider,
    phone: &Phone,
    user: &str,
    random: &mut SplitMix,
    waiters: &mut tokio::task::JoinSet<()>,
) -> Result<std::convert::Infallible, Unacknowledged> {
    let mut left_pending: Option<String> = None;
    // Who approves nothing is soon asked no more (five prompts); what an earlier
    // life of the broker has counted is not known here.
    const UNAPPROVED: u32 = 2;
    let mut unapproved = UNAPPROVED;
    loop {
        if random.below(5) == 0 {
            let other = format!("ann-{:016x}", random.next());
            ledger.enrolled(provider.enroll(&other).await?);
        }
        let request = sign_in(user);
        let name = request.request_id.clone();
        ledger.asking(&request);
        if let Some(before) = &left_pending {
            ledger.trying(before, (S::Cancelled, R::Superseded));
        }
        let challenge = provider.create(request).await?;
        let id = challenge.challenge_id.clone();
        ledger.created(&name, challenge);
        if let Some(before) = left_pending.take() {
            ledger.ended(&before, (S::Cancelled, R::Superseded));
        }
        waiters.spawn({
            let (ledger, provider) = (ledger.clone(), provider.clone());
            let (name, id) = (name.clone(), id.clone());
            async move {
                match provider.wait(&id).await {
                    // Pending still: the broker is draining, or time was up.
                    Ok(challenge) => ledger.saw(&name, &challenge),
                    Err(error) => ledger.check(&error),
                }
            }
        });
        let choice = match random.below(8) {
            _ if unapproved >= UNAPPROVED => 7,
            choice => choice,
        };
        unapproved = if choice >= 5 { 0 } else { unapproved + 1 };
        match choice {
            0 => left_pending = Some(name),
            1 => {
                let end = (S::Cancelled, R::CancelledByCaller);
                ledger.trying(&name, end);
                let challenge = provider.cancel(&id).await?;
                ledger.ended(&name, end);
                ledger.saw(&name, &challenge);
            }
            n => {
                let decision = match n {
                    2 => Decision::ReportFraud,
                    3 | 4 => Decision::Deny,
                    _ => Decision::Approve,
                };
                let end = end_of(decision);
                let pending = phone.list_pending().await?.challenges;
                let asked = pending.iter().find(|asked| asked.id() == id);
                let asked = asked.expect("the phone is shown what was acknowledged");
                ledger.trying(&name, end);
                let told = phone.respond(asked, decision, "").await?;
                assert_eq!((told.state(), told.reason()), end);
                ledger.ended(&name, end);
            }
        }
    }
}
