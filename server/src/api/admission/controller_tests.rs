#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
//! A broker of one processor, simulated: tasks run in the order they became
//! ready, for as long as was measured of the real ones. Time is a number.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use proptest::prelude::*;

use super::controller::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Who {
    Tenant(u32),
    Strangers,
}

impl Account for Who {
    fn is_protected(&self) -> bool {
        matches!(self, Self::Tenant(_))
    }
}

const SETTINGS: Settings = Settings {
    max_new_calls: 1024,
    target_us: 5_000,
};

/// Nothing is ever refused.
const WIDE_OPEN: Settings = Settings {
    max_new_calls: u32::MAX,
    target_us: u64::MAX / 2,
};

/// Processor time in microseconds: reading a call and deciding, making a
/// challenge, answering it, the phone's two calls and the waiter's answer.
const DECIDE: u64 = 7;
const CREATE: u64 = 70;
const ANSWER: u64 = 15;
const FINISH: u64 = 125;
const FLOW: u64 = DECIDE + CREATE + ANSWER + FINISH;

/// A caller that has waited so long for its challenge has gone.
const DEADLINE: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Arrive(Who),
    /// From the end of the queue, since when.
    Begin(Who, u64, u64),
    Committed(Who, u64),
    Finish(Who, u64),
}

struct Load {
    who: Who,
    per_second: f64,
}

struct World {
    controller: Controller<Who>,
    ready: VecDeque<Task>,
    later: BinaryHeap<Reverse<(u64, Task)>>,
    commit: u64,
    think: u64,
    random: u64,
    now: u64,
    seen: BTreeMap<Who, Seen>,
    most_in_flight: u32,
}

#[derive(Default)]
struct Seen {
    offered: u32,
    refused: u32,
    done: u32,
    latencies: Vec<u64>,
}

impl Seen {
    fn p99(&mut self) -> u64 {
        self.latencies.sort_unstable();
        let place = self.latencies.len() * 99 / 100;
        self.latencies.get(place).copied().unwrap_or_default()
    }
}

impl World {
    fn new(settings: Settings) -> Self {
        Self {
            controller: Controller::new(settings),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            commit: 300,
            think: 1_000,
            random: 0x9e37_79b9_7f4a_7c15,
            now: 0,
            seen: BTreeMap::new(),
            most_in_flight: 0,
        }
    }

    /// xorshift64*: the same each time.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (f64::from(u32::try_from(bits).unwrap()) + 1.0) / 4_294_967_297.0
    }

    fn at(&mut self, time: u64, task: Task) {
        self.later.push(Reverse((time, task)));
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds"
    )]
    fn arrivals(&mut self, loads: &[Load], from: u64, until: u64) {
        for load in loads {
            let mut time = from as f64;
            loop {
                time -= self.chance().ln() * 1e6 / load.per_second;
                if time >= until as f64 {
                    break;
                }
                self.at(time as u64, Task::Arrive(load.who));
            }
        }
    }

    /// Runs, and forgets what was seen before `from`.
    fn run(&mut self, loads: &[Load], seconds: u64, from: u64) {
        let start = self.now;
        self.arrivals(loads, start, start + seconds * 1_000_000);
        let end = start + seconds * 1_000_000;
        let mut fresh = false;
        while self.now < end {
            if !fresh && self.now >= start + from * 1_000_000 {
                fresh = true;
                self.seen.clear();
            }
            while let Some(Reverse((time, task))) = self.later.peek().copied() {
                if time > self.now {
                    break;
                }
                self.later.pop();
                self.ready.push_back(task);
            }
            match (self.ready.pop_front(), self.later.peek()) {
                (Some(task), _) => self.task(task),
                (None, Some(Reverse((time, _)))) => self.now = *time,
                (None, None) => break,
            }
        }
    }

    fn task(&mut self, task: Task) {
        match task {
            Task::Arrive(who) => {
                self.now += DECIDE;
                let seen = self.seen.entry(who).or_default();
                seen.offered += 1;
                match self.controller.arrive(who, self.now) {
                    Verdict::Admitted { behind: true } => {
                        self.ready.push_back(Task::Begin(who, self.now, self.now));
                    }
                    Verdict::Admitted { behind: false } => self.begin(who, self.now),
                    Verdict::Refused(_) => seen.refused += 1,
                }
                self.most_in_flight = self.most_in_flight.max(self.controller.in_flight());
            }
            Task::Begin(who, since, arrived) => {
                self.controller.waited(self.now - since);
                self.begin(who, arrived);
            }
            Task::Committed(who, arrived) => {
                self.now += ANSWER;
                self.controller.leave(who);
                let think = self.think / 2 + (self.think as f64 * self.chance()) as u64;
                self.at(self.now + think, Task::Finish(who, arrived));
                let seen = self.seen.entry(who).or_default();
                seen.latencies.push(self.now - arrived);
            }
            Task::Finish(who, _) => {
                self.now += FINISH;
                self.seen.entry(who).or_default().done += 1;
            }
        }
    }

    fn begin(&mut self, who: Who, arrived: u64) {
        if self.now - arrived > DEADLINE {
            self.controller.leave(who);
            return;
        }
        self.now += CREATE;
        self.at(self.now + self.commit, Task::Committed(who, arrived));
    }

    fn show(&mut self, name: &str) {
        for (who, seen) in &mut self.seen {
            let p99 = seen.p99();
            println!(
                "{name} {who:?}: offered {} refused {} done {} p99 {} limit {:.2} max in flight {}",
                seen.offered,
                seen.refused,
                seen.done,
                p99,
                self.controller.limit(),
                self.most_in_flight,
            );
        }
    }
}

const A: Who = Who::Tenant(1);
const B: Who = Who::Tenant(2);

/// Flows a second that the simulated processor could do.
fn most() -> f64 {
    1e6 / FLOW as f64
}

#[test]
fn explore() {
    for think in [1_000, 4_000_000] {
        for load in [0.5, 0.9, 1.0, 1.5, 3.0, 10.0] {
            let mut world = World::new(SETTINGS);
            world.think = think;
            world.run(
                &[Load {
                    who: A,
                    per_second: most() * load,
                }],
                60,
                30,
            );
            world.show(&format!(
                "think {think} load {load} ({:.0} max)",
                most() * 30.0
            ));
        }
        for load in [0.0001, 0.5, 0.9, 3.0] {
            let mut world = World::new(SETTINGS);
            world.think = think;
            world.run(
                &[
                    Load {
                        who: A,
                        per_second: most() * load,
                    },
                    Load {
                        who: B,
                        per_second: 50.0,
                    },
                ],
                60,
                30,
            );
            world.show(&format!("quiet: think {think} load {load}"));
        }
    }
    let mut world = World::new(SETTINGS);
    world.commit = 30_000;
    world.run(
        &[Load {
            who: A,
            per_second: most() * 0.9,
        }],
        60,
        30,
    );
    world.show("slow disk");
    let mut world = World::new(SETTINGS);
    world.commit = 30_000;
    world.run(
        &[Load {
            who: A,
            per_second: most() * 3.0,
        }],
        60,
        30,
    );
    world.show("slow disk 3x");
    let mut world = World::new(WIDE_OPEN);
    world.run(
        &[Load {
            who: A,
            per_second: most() * 3.0,
        }],
        60,
        30,
    );
    world.show("wide open");
}
