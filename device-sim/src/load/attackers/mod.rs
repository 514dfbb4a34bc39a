//! Those who want in and are not the user. What the broker takes for genuine of
//! theirs is a hole.

mod bomber;
mod guesser;
mod replayer;

pub(super) use guesser::{Armed, add_app};

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Status;

use super::dice::{Dice, Purpose};
use super::inbox::Who;
use super::mix::Named;
use super::run::{Run, reason};
use crate::report::Attacker;

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Asks users again and again, until one gives in.
    Bomber,
    /// Types codes by chance.
    Guesser,
    /// Sends again what it read along.
    Replayer,
}

impl Named for Model {
    const ALL: &'static [(&'static str, Self)] = &[
        ("bomber", Self::Bomber),
        ("guesser", Self::Guesser),
        ("replayer", Self::Replayer),
    ];
}

/// Attackers and their attempts a second: `bomber=20/s,guesser=50/s`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attacks(Vec<(Model, f64)>);

impl FromStr for Attacks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all: Vec<(Model, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, rate) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not such as bomber=20/s"))?;
            let model = Model::named(name.trim())?;
            let number = rate.trim().trim_end_matches("/s");
            let rate = number
                .parse()
                .ok()
                .filter(|rate: &f64| *rate > 0.0 && *rate <= 10_000.0)
                .ok_or_else(|| format!("{rate:?} is not a rate such as 20/s, up to 10000/s"))?;
            if all.iter().any(|(known, _)| *known == model) {
                return Err(format!("{name} is given twice"));
            }
            all.push((model, rate));
        }
        Ok(Self(all))
    }
}

impl fmt::Display for Attacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (model, rate)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={rate}/s", model.name())?;
        }
        Ok(())
    }
}

impl Attacks {
    pub(super) fn has(&self, model: Model) -> bool {
        self.0.iter().any(|(one, _)| *one == model)
    }
}

/// Attempts of one model that may be under way at a time.
const AT_A_TIME: usize = 64;

/// What came of one model's attempts.
#[derive(Default)]
pub(super) struct Tally {
    attempts: AtomicU64,
    accepted: AtomicU64,
    reached: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    fn attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A prompt was seen by the user.
    pub(super) fn reached(&self) {
        self.reached.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self, status: &Status) {
        self.refused_for(reason(status));
    }

    fn refused_for(&self, reason: String) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }

    fn row(&self, model: &str) -> Attacker {
        Attacker {
            model: model.to_owned(),
            attempts: self.attempts.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            reached_the_user: self.reached.load(Ordering::Relaxed),
            refused: self.refused.lock().clone(),
        }
    }
}

/// What came of all attempts.
#[derive(Default)]
pub(super) struct Siege {
    pub(super) bomber: Tally,
    guesser: Tally,
    replayer: Tally,
}

impl Siege {
    /// The rows of the report.
    pub(super) fn rows(&self, attacks: Option<&Attacks>) -> Vec<Attacker> {
        let all = [
            (Model::Bomber, &self.bomber, "prompt-bomber"),
            (Model::Guesser, &self.guesser, "code-guesser"),
            (Model::Replayer, &self.replayer, "replayer"),
        ];
        all.into_iter()
            .filter(|(model, _, _)| attacks.is_some_and(|attacks| attacks.has(*model)))
            .map(|(_, tally, name)| tally.row(name))
            .collect()
    }
}

impl Run {
    /// The victims of a model: a third of them each, so that attackers don't get
    /// into each other's way.
    fn victims_of(&self, model: Model) -> Vec<Who> {
        let users = self.args.users()..self.args.target.devices;
        let third = self.args.victims().div_ceil(3);
        let place = match model {
            Model::Bomber => 0,
            Model::Guesser => 1,
            Model::Replayer => 2,
        };
        let from = users.start + place * third;
        let own = from..(from + third).min(users.end);
        let range = if own.is_empty() { users } else { own };
        let tenants = 0..self.tenants.len();
        tenants
            .flat_map(|tenant| range.clone().map(move |user| (tenant, user)))
            .collect()
    }

    /// All who are attacked by prompts: their apps are kept open, to see what
    /// reaches them.
    pub(super) fn bombed(&self) -> Vec<Who> {
        match &self.args.attackers {
            Some(attacks) if attacks.has(Model::Bomber) => self.victims_of(Model::Bomber),
            _ => Vec::new(),
        }
    }
}

/// What attackers need before a run: the victims whose codes are guessed have
/// an authenticator app.
pub(super) async fn arm(run: &Run) -> Armed {
    match &run.args.attackers {
        Some(attacks) if attacks.has(Model::Guesser) => guesser::arm(run).await,
        _ => Armed::default(),
    }
}

/// Lets the attackers loose until the run stops.
pub(super) async fn attack(run: Arc<Run>, armed: Armed) {
    let armed = Arc::new(armed);
    let Some(attacks) = run.args.attackers.clone() else {
        return;
    };
    let mut all = JoinSet::new();
    for (model, rate) in attacks.0 {
        match model {
            Model::Bomber => all.spawn(bomber::run(Arc::clone(&run), rate)),
            Model::Guesser => all.spawn(guesser::run(Arc::clone(&run), Arc::clone(&armed), rate)),
            Model::Replayer => all.spawn(replayer::run(Arc::clone(&run), rate)),
        };
    }
    while all.join_next().await.is_some() {}
}

/// Calls `attempt` with 0, 1, 2, … at an even rate until the run stops, and
/// waits for those under way. What would be too many at a time is left out.
async fn at_a_rate<F>(run: &Arc<Run>, rate: f64, attempt: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let gap = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(1));
    let mut ticks = tokio::time::interval(gap);
    let free = Arc::new(Semaphore::new(AT_A_TIME));
    let mut under_way = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            biased;
            () = run.stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            let attempt = attempt(number);
            under_way.spawn(async move {
                attempt.await;
                drop(permit);
            });
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// One of the victims.
fn victim(run: &Run, victims: &[Who], number: u64) -> Option<Who> {
    let mut dice = Dice::new(run.args.seed, Purpose::Attack, number);
    let count = u64::try_from(victims.len()).unwrap_or_default();
    let place = usize::try_from(dice.below(count)).ok()?;
    victims.get(place).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn attackers_from_the_command_line() {
        let attacks: Attacks = "bomber=20/s,replayer=0.5".parse().unwrap();
        assert_eq!(attacks.to_string(), "bomber=20/s,replayer=0.5/s");
        assert!(attacks.has(Model::Bomber) && !attacks.has(Model::Guesser));
        for wrong in [
            "",
            "bomber",
            "bomber=",
            "bomber=0",
            "thief=1/s",
            "bomber=1,bomber=2",
        ] {
            assert!(wrong.parse::<Attacks>().is_err(), "{wrong}");
        }
    }
}
