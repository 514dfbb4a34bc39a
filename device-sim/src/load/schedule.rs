//! Who signs in when, and what becomes of it: all of it follows from the seed,
//! before the first call is made, and nothing that the broker does changes it.

use std::time::Duration;

use super::behaviour::{Answer, Channel, Think};
use super::dice::{Dice, Purpose, Round};
use super::mix::{Mix, Named, pick};
use super::rate::{Course, Rate};

/// How sign-ins follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Independently of each other, as those of many people: a Poisson process.
    Poisson,
    /// Evenly.
    Uniform,
}

impl Named for Arrivals {
    const ALL: &'static [(&'static str, Self)] =
        &[("poisson", Self::Poisson), ("uniform", Self::Uniform)];
}

impl std::str::FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::named(text)
    }
}

/// What a schedule is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of everything that is drawn.
    pub seed: u64,
    /// How many a second.
    pub rate: Rate,
    /// For how long.
    pub duration: Duration,
    /// How they follow each other.
    pub arrivals: Arrivals,
    /// Of each organisation, its share of the sign-ins.
    pub tenants: Vec<f64>,
    /// Users of each organisation: numbers 0 to one below.
    pub users: u64,
    /// What they do.
    pub answers: Mix<Answer>,
    /// How long they think.
    pub think: Think,
    /// By which road their prompts come.
    pub channels: Mix<Channel>,
    /// Seed of the population: a user's road does not change from run to run.
    pub population: u64,
}

/// A sign-in to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Counts up from 0.
    pub number: u64,
    /// When, from the start of the run.
    pub at: Duration,
    /// In which organisation.
    pub tenant: usize,
    /// Whose.
    pub user: u64,
    /// What the user does.
    pub answer: Answer,
    /// After how long.
    pub think: Duration,
    /// By which road the prompt comes.
    pub channel: Channel,
    /// What the sign-in page says of it: see [`Arrival::address`].
    pub context: u64,
}

/// What people sign in to.
const APPLICATIONS: [&str; 4] = ["Webmail", "Time sheets", "VPN", "Document archive"];
/// Where from.
const PLACES: [&str; 4] = [
    "Ghent, Belgium",
    "Gent, België",
    "Liège, Belgique",
    "Utrecht, Nederland",
];

impl Arrival {
    /// `request_id`: a UUID (version 8, RFC 9562) that the run's seed decides
    /// together with `run`, so that a run may be repeated against one broker.
    #[must_use]
    pub fn request_id(&self, run: u64) -> String {
        let mut dice = Dice::new(run, Purpose::Context, self.number);
        let high = u128::from(dice.next()) << 64;
        let id = uuid::Builder::from_custom_bytes((high | u128::from(dice.next())).to_be_bytes());
        id.into_uuid().to_string()
    }

    /// `context.application_name`.
    #[must_use]
    pub fn application(&self) -> &'static str {
        one_of(&APPLICATIONS, self.context)
    }

    /// `context.location`.
    #[must_use]
    pub fn place(&self) -> &'static str {
        one_of(&PLACES, self.context >> 8)
    }

    /// `context.client_address`, of the documentation's own (RFC 5737).
    #[must_use]
    pub fn address(&self) -> String {
        format!("203.0.113.{}", self.context >> 16 & 0xff)
    }
}

fn one_of(all: &[&'static str; 4], number: u64) -> &'static str {
    let place = usize::try_from(number % 4).unwrap_or_default();
    all.get(place).copied().unwrap_or_default()
}

/// The road by which prompts come to this user, always.
pub(super) fn channel_of(channels: &Mix<Channel>, population: u64, user: u64) -> Channel {
    let mut dice = Dice::new(population, Purpose::Channel, user);
    channels.draw(&mut dice).unwrap_or(Channel::Subscribe)
}

/// The sign-ins of a run, in order.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    course: Course,
    tenants: Vec<(usize, f64)>,
    rounds: Vec<(Round, u64)>,
    number: u64,
    /// How many sign-ins of a process of rate 1 would have been by now.
    count: f64,
}

impl Schedule {
    /// The schedule of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let tenants: Vec<_> = plan.tenants.iter().copied().enumerate().collect();
        let rounds = (0_u64..)
            .zip(&tenants)
            .map(|(index, _)| (Round::new(plan.seed, index, plan.users), 0))
            .collect();
        Self {
            course: plan.rate.over(plan.duration),
            tenants,
            rounds,
            number: 0,
            count: 0.0,
            plan,
        }
    }

    /// How many sign-ins are expected in all.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.course.total
    }

    fn user(&mut self, tenant: usize) -> u64 {
        let Some((round, turn)) = self.rounds.get_mut(tenant) else {
            return 0;
        };
        *turn += 1;
        round.at(*turn - 1)
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let (seed, number) = (self.plan.seed, self.number);
        if self.plan.arrivals == Arrivals::Poisson {
            self.count += Dice::new(seed, Purpose::Gap, number).exponential();
        }
        let at = self.course.when(self.count)?;
        if self.plan.arrivals == Arrivals::Uniform {
            self.count += 1.0;
        }
        self.number += 1;
        let tenant = pick(&self.tenants, &mut Dice::new(seed, Purpose::User, number))?;
        let user = self.user(tenant);
        let mut dice = Dice::new(seed, Purpose::Answer, number);
        Some(Arrival {
            number,
            at,
            tenant,
            user,
            answer: self.plan.answers.draw(&mut dice)?,
            think: self.plan.think.draw(&mut dice),
            channel: channel_of(&self.plan.channels, self.plan.population, user),
            context: Dice::new(seed, Purpose::Context, number).next(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::collections::HashSet;

    use super::*;

    fn plan() -> Plan {
        Plan {
            seed: 1,
            rate: "50..150".parse().unwrap(),
            duration: Duration::from_secs(20),
            arrivals: Arrivals::Poisson,
            tenants: vec![3.0, 1.0],
            users: 500,
            answers: "approve=8,deny=1,late=1".parse().unwrap(),
            think: "2s".parse().unwrap(),
            channels: "subscribe=3,apns=1".parse().unwrap(),
            population: 9,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let all: Vec<_> = Schedule::new(plan()).collect();
        assert_eq!(all, Schedule::new(plan()).collect::<Vec<_>>());
        let other = Plan { seed: 2, ..plan() };
        let other: Vec<_> = Schedule::new(other).collect();
        assert_ne!(all[0].at, other[0].at);
        assert_ne!(all[0].request_id(1), other[0].request_id(2));
        assert_eq!(all[0].request_id(1), all[0].request_id(1));
        assert_ne!(all[0].request_id(1), all[1].request_id(1));
    }

    /// What falls for a seed is the same in every version: figures of one can be
    /// compared with those of another.
    #[test]
    fn what_falls_stays() {
        let first: Vec<_> = Schedule::new(plan())
            .take(3)
            .map(|a| {
                let (at, think) = (a.at.as_millis(), a.think.as_millis());
                format!("{at} {} {} {} {think}", a.tenant, a.user, a.answer.name())
            })
            .collect();
        assert_eq!(first, FIRST);
    }

    const FIRST: [&str; 3] = [
        "8 0 176 approve 1418",
        "15 1 390 approve 3276",
        "43 0 213 approve 3945",
    ];

    #[test]
    fn arrivals_come_in_order_at_the_rate() {
        for arrivals in [Arrivals::Poisson, Arrivals::Uniform] {
            let plan = Plan { arrivals, ..plan() };
            let all: Vec<_> = Schedule::new(plan).collect();
            assert!((1850..2150).contains(&all.len()), "{}", all.len());
            assert!(all.is_sorted_by_key(|arrival| arrival.at));
            assert!(all.last().unwrap().at < Duration::from_secs(20));
            let early = all.iter().filter(|one| one.at < Duration::from_secs(10));
            // (50 + 100) / (50 + 100 + 100 + 150)
            let share = early.count() as f64 / all.len() as f64;
            assert!((share - 0.375).abs() < 0.04, "{share}");
            let first = all.iter().filter(|one| one.tenant == 0).count() as f64;
            assert!((first / all.len() as f64 - 0.75).abs() < 0.04);
            assert!(
                all.iter()
                    .enumerate()
                    .all(|(i, one)| one.number == i as u64)
            );
        }
    }

    #[test]
    fn nobody_signs_in_twice_before_all_others_have() {
        let all: Vec<_> = Schedule::new(plan())
            .filter(|one| one.tenant == 0)
            .collect();
        assert!(all.len() > 1000);
        for round in all.chunks_exact(500) {
            let users: HashSet<_> = round.iter().map(|one| one.user).collect();
            assert_eq!(users.len(), 500);
        }
    }

    #[test]
    fn a_users_road_does_not_change() {
        let other = Plan { seed: 5, ..plan() };
        let all: Vec<_> = Schedule::new(plan()).chain(Schedule::new(other)).collect();
        for user in 0..500 {
            let roads: HashSet<_> = all
                .iter()
                .filter(|one| one.user == user)
                .map(|one| one.channel)
                .collect();
            assert!(roads.len() <= 1, "{user}");
        }
        let apns = all
            .iter()
            .filter(|one| one.channel == Channel::Apns)
            .count();
        assert!((0.2..0.3).contains(&(apns as f64 / all.len() as f64)));
    }
}
