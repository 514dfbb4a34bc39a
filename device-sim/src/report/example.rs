//! A made-up report in which everything occurs, to look at the forms without a
//! run.

use std::collections::BTreeMap;

use super::generator::{Evidence, judge};
use super::model::{
    Attacker, BrokerSide, Check, ErrorRow, FORMAT, Latency, LoadReport, Machine, Point, Step,
    Target,
};

/// Seconds of the example.
const SECONDS: u64 = 60;
/// A stall of two seconds begins here.
const STALL: u64 = 38;

impl LoadReport {
    /// A made-up run of a minute with a ramp, a stall, errors, attackers.
    #[must_use]
    pub fn example() -> Self {
        let mut chance = Chance(7);
        let series = series(&mut chance);
        let generator = judge(&Evidence::of(&series, 2.0, 1_840, 31));
        let completed: u64 = series.iter().map(|point| point.completed).sum();
        let denied = completed / 50;
        Self {
            format: FORMAT,
            title: "2000 flows per second, people who answer, over Subscribe".to_owned(),
            command: [
                "load",
                "--target",
                "https://127.0.0.1:7443",
                "--rate",
                "2000",
                "--duration",
                "60s",
                "--seed",
                "42",
                "--note",
                "a b'c",
            ]
            .map(str::to_owned)
            .to_vec(),
            seed: 42,
            started: "2026-11-23T08:00:00Z".to_owned(),
            planned_seconds: SECONDS as f64,
            measured_seconds: SECONDS as f64 + 0.25,
            machine: Machine {
                cpu_model: "Example CPU @ 2.10GHz".to_owned(),
                cores: 2,
                memory_bytes: 8_200_000_000,
                kernel: "Linux 6.1.0".to_owned(),
            },
            target: Target {
                address: "https://127.0.0.1:7443".to_owned(),
                tls: true,
                version: Some("0.1.0".to_owned()),
                connections: 8,
            },
            settings: map(&[
                (
                    "answers",
                    "approve 90 %, deny 2 %, ignore 5 %, wrong number 3 %",
                ),
                ("channels", "Subscribe"),
                ("devices", "10000"),
                ("duration", "60 s"),
                ("rate", "2000 per second"),
            ]),
            steps: steps(&mut chance, completed),
            outcomes: BTreeMap::from([
                ("APPROVED".to_owned(), completed - denied - 40),
                ("DENIED".to_owned(), denied),
                ("EXPIRED".to_owned(), 40),
            ]),
            errors: errors(),
            series,
            generator,
            attackers: attackers(),
            checks: checks(completed),
            broker: Some(BrokerSide {
                cpu_seconds: 42.7,
                cpu_us_per_flow: 368.0,
                rss_start_bytes: 61_000_000,
                rss_peak_bytes: 148_000_000,
                rss_end_bytes: 141_000_000,
                fds_start: Some(38),
                fds_end: Some(41),
                disk_start_bytes: Some(4_200_000),
                disk_end_bytes: Some(271_000_000),
            }),
        }
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn series(chance: &mut Chance) -> Vec<Point> {
    (0..SECONDS)
        .map(|at| {
            let offered = 2_000.min(400 + at * 200) - chance.below(40);
            let stalled = (STALL..STALL + 2).contains(&at);
            let after = at == STALL + 2;
            let refused = if after { 900 } else { 0 };
            let completed = match (stalled, after) {
                (true, _) => 12,
                (_, true) => offered + 2_800,
                _ => offered - chance.below(12),
            };
            let slow = if stalled || after { 250 } else { 1 };
            Point {
                at_seconds: at,
                offered,
                started: offered,
                completed,
                refused,
                failed: u64::from(at % 17 == 3),
                p50_us: Some((1_900 + chance.below(300)) * slow),
                p99_us: Some((7_200 + chance.below(2_600)) * slow),
                in_flight: if stalled {
                    (at - STALL + 1) * 1_990
                } else {
                    20 + chance.below(9)
                },
                generator_lag_p99_us: 1_500 + chance.below(700),
                generator_cpu_cores: 0.7 + chance.below(100) as f64 / 1_000.0,
                broker_rss_bytes: Some(61_000_000 + at * 1_350_000),
                broker_cpu_cores: Some(if stalled { 0.1 } else { 0.8 }),
            }
        })
        .collect()
}

fn steps(chance: &mut Chance, flows: u64) -> Vec<Step> {
    [
        (
            "create",
            "from when the flow was due until the challenge is there",
            700,
        ),
        ("prompt", "until the phone holds the challenge", 450),
        (
            "respond",
            "from the phone's answer until the broker has recorded it",
            900,
        ),
        (
            "answer",
            "from the phone's answer until the identity provider knows",
            1_100,
        ),
        (
            "flow",
            "from when the flow was due until the decision",
            2_300,
        ),
    ]
    .map(|(name, meaning, typical)| Step {
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        latency: Latency::of((0..flows.min(20_000)).map(|_| chance.skewed(typical))),
    })
    .to_vec()
}

fn errors() -> Vec<ErrorRow> {
    [
        (
            "CreateChallenge",
            "RESOURCE_EXHAUSTED",
            900,
            40,
            "too many requests, retry in 0.8 s",
        ),
        (
            "Respond",
            "DEADLINE_EXCEEDED",
            3,
            38,
            "the deadline of 5 s has passed",
        ),
        (
            "connect",
            "connection refused",
            1,
            54,
            "tcp connect error: 127.0.0.1:7443",
        ),
    ]
    .map(
        |(call, reason, count, first_at_seconds, example)| ErrorRow {
            call: call.to_owned(),
            reason: reason.to_owned(),
            count,
            first_at_seconds,
            example: example.to_owned(),
        },
    )
    .to_vec()
}

fn attackers() -> Vec<Attacker> {
    let attacker = |model: &str, reached_the_user, refused: &[(&str, u64)]| Attacker {
        model: model.to_owned(),
        attempts: refused.iter().map(|(_, count)| count).sum::<u64>() + reached_the_user,
        accepted: 0,
        reached_the_user,
        refused: refused
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect(),
    };
    vec![
        attacker(
            "prompt-bomber",
            3,
            &[("RATE_LIMITED", 597), ("FATIGUE", 12)],
        ),
        attacker("code-guesser", 0, &[("WRONG_CODE", 250), ("LOCKED", 4_750)]),
        attacker("replayer", 0, &[("ALREADY_DECIDED", 1_200)]),
    ]
}

fn checks(completed: u64) -> Vec<Check> {
    [
        (
            "no wrong approval",
            format!("{completed} decisions compared"),
        ),
        ("no flow with two outcomes", format!("{completed} flows")),
        ("receipts verified", "1 in 100: 1103 of 1103".to_owned()),
    ]
    .map(|(name, detail)| Check {
        name: name.to_owned(),
        passed: true,
        detail,
    })
    .to_vec()
}

/// Numbers that look random and are always the same (Knuth's MMIX generator).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    /// Times with a long tail, as latencies have it.
    fn skewed(&mut self, typical: u64) -> u64 {
        let mut time = typical / 2 + self.below(typical);
        while self.below(12) == 0 {
            time = time * 2 + self.below(typical);
        }
        time
    }
}
