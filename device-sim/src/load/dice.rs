//! Chance that can be repeated: what falls is a function of the seed and of
//! what it is thrown for, on every machine and in every version.

/// What a throw is for, so that no two draws of a flow hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Purpose {
    /// The gap before an arrival.
    Gap = 1,
    /// Whose sign-in it is.
    User,
    /// How it is answered.
    Answer,
    /// What the sign-in page says of it.
    Context,
    /// Which road the prompt takes.
    Channel,
    /// What an attacker does.
    Attack,
    /// What is verified along with the measuring.
    Sample,
    /// The order in which users sign in.
    Order,
}

/// A sequence of numbers (SplitMix64: Steele, Lea and Flood, OOPSLA 2014,
/// with the constants of its reference implementation).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The sequence of `index` for `purpose` under `seed`.
    pub(super) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let start = mixed(seed ^ mixed(purpose as u64)).wrapping_add(mixed(!index));
        Self(mixed(start))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// At least 0, below 1: 53 bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `end`; 0 when that is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The high half of the product: uniform to within 2^-64 per value.
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// Exponentially distributed with mean 1: the gaps of a Poisson process.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normally distributed with mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Log-normally distributed around `median`.
    pub(super) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }
}

/// SplitMix64's finalizer: one bit in changes half of the bits out.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Every number below `size` once, in an order that the seed decides, then the
/// same again: nobody signs in twice before all others have.
#[derive(Clone, Debug)]
pub(super) struct Round {
    size: u64,
    step: u64,
    start: u64,
}

impl Round {
    pub(super) fn new(seed: u64, index: u64, size: u64) -> Self {
        let size = size.max(1);
        let mut dice = Dice::new(seed, Purpose::Order, index);
        let start = dice.below(size);
        let mut step = dice.below(size).max(1);
        // A step that shares no divisor with the size visits all.
        while divisor(step, size) != 1 {
            step = step % size + 1;
        }
        Self { size, step, start }
    }

    /// The `turn`-th.
    pub(super) fn at(&self, turn: u64) -> u64 {
        let wide = u128::from(turn % self.size) * u128::from(self.step) + u128::from(self.start);
        u64::try_from(wide % u128::from(self.size)).unwrap_or_default()
    }
}

/// The greatest common divisor (Euclid).
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    /// The first numbers of SplitMix64 from state 0 (its reference
    /// implementation, and `java.util.SplittableRandom`).
    #[test]
    fn numbers_are_those_of_the_reference() {
        let mut dice = Dice(0);
        let first = [dice.next(), dice.next(), dice.next()];
        assert_eq!(
            first,
            [
                0xE220_A839_7B1D_CDAF,
                0x6E78_9E6A_A1B9_65F4,
                0x06C4_5D18_8009_454F
            ]
        );
    }

    #[test]
    fn throws_differ_by_seed_purpose_and_index() {
        let first = |seed, purpose, index| Dice::new(seed, purpose, index).next();
        let one = first(1, Purpose::Gap, 1);
        assert_eq!(one, first(1, Purpose::Gap, 1));
        assert_ne!(one, first(2, Purpose::Gap, 1));
        assert_ne!(one, first(1, Purpose::User, 1));
        assert_ne!(one, first(1, Purpose::Gap, 2));
    }

    #[test]
    fn distributions_have_their_means() {
        let mut dice = Dice::new(7, Purpose::Gap, 0);
        let count = 20_000;
        let mut mean = |draw: &mut dyn FnMut(&mut Dice) -> f64| {
            (0..count).map(|_| draw(&mut dice)).sum::<f64>() / f64::from(count)
        };
        assert!((mean(&mut |dice| dice.unit()) - 0.5).abs() < 0.02);
        assert!((mean(&mut |dice| dice.exponential()) - 1.0).abs() < 0.05);
        assert!((mean(&mut |dice| dice.below(11) as f64) - 5.0).abs() < 0.2);
        // exp(sigma^2 / 2) times the median.
        let expected = 4.0 * (0.5_f64 * 0.5 / 2.0).exp();
        assert!((mean(&mut |dice| dice.log_normal(4.0, 0.5)) - expected).abs() < 0.15);
    }

    #[test]
    fn a_round_visits_everybody_once() {
        for size in [1, 2, 7, 12, 1000] {
            let round = Round::new(3, 0, size);
            let mut seen: Vec<_> = (0..size).map(|turn| round.at(turn)).collect();
            assert_eq!(round.at(size), seen[0]);
            seen.sort_unstable();
            assert_eq!(seen, (0..size).collect::<Vec<_>>());
        }
    }
}
