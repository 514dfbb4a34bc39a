//! Shares of a whole, as given on the command line: `approve=80,deny=5`.

use std::fmt;
use std::str::FromStr;

use super::dice::Dice;

/// Something that has a name on the command line.
pub trait Named: Copy + PartialEq + 'static {
    /// All there are, with their names.
    const ALL: &'static [(&'static str, Self)];

    /// Its name.
    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, one)| *one == self)
            .map_or("", |(name, _)| name)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// The names there are.
    fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, one)| *one).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is none of {}", known.join(", "))
        })
    }
}

/// Weights of several things. A name alone weighs 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix<T> {
    shares: Vec<(T, f64)>,
}

impl<T: Named> FromStr for Mix<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut shares: Vec<(T, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let one = T::named(name.trim())?;
            let weight: f64 = weight
                .trim()
                .parse()
                .ok()
                .filter(|weight: &f64| weight.is_finite() && *weight >= 0.0)
                .ok_or_else(|| format!("{weight:?} is not a weight"))?;
            if shares.iter().any(|(known, _)| *known == one) {
                return Err(format!("{name} is given twice"));
            }
            shares.push((one, weight));
        }
        if shares.iter().map(|(_, weight)| weight).sum::<f64>() > 0.0 {
            Ok(Self { shares })
        } else {
            Err("all weights are 0".to_owned())
        }
    }
}

impl<T: Named> fmt::Display for Mix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (one, weight)) in self.shares.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={weight}", one.name())?;
        }
        Ok(())
    }
}

impl<T: Named> Mix<T> {
    /// One of them, as often as it weighs.
    pub(super) fn draw(&self, dice: &mut Dice) -> Option<T> {
        pick(&self.shares, dice)
    }

    /// Whether it can be drawn.
    pub(super) fn has(&self, wanted: T) -> bool {
        self.shares
            .iter()
            .any(|(one, weight)| *one == wanted && *weight > 0.0)
    }
}

/// One of `shares`, as often as it weighs; `None` when nothing weighs anything.
pub(super) fn pick<T: Copy>(shares: &[(T, f64)], dice: &mut Dice) -> Option<T> {
    let sum: f64 = shares.iter().map(|(_, weight)| weight).sum();
    let mut left = dice.unit() * sum;
    let mut last = None;
    for (one, weight) in shares {
        if *weight > 0.0 {
            last = Some(*one);
            if left < *weight {
                break;
            }
            left -= weight;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::dice::Purpose;
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fruit {
        Apple,
        Pear,
        Fig,
    }

    impl Named for Fruit {
        const ALL: &'static [(&'static str, Self)] = &[
            ("apple", Self::Apple),
            ("pear", Self::Pear),
            ("fig", Self::Fig),
        ];
    }

    #[test]
    fn drawn_as_often_as_it_weighs() {
        let mix: Mix<Fruit> = "apple=3,pear,fig=0".parse().unwrap();
        assert_eq!(mix.to_string(), "apple=3,pear=1,fig=0");
        assert!(mix.has(Fruit::Apple) && !mix.has(Fruit::Fig));
        let mut dice = Dice::new(1, Purpose::Answer, 0);
        let drawn: Vec<_> = (0..4000).map(|_| mix.draw(&mut dice).unwrap()).collect();
        let count = |fruit| drawn.iter().filter(|one| **one == fruit).count();
        assert!((2900..3100).contains(&count(Fruit::Apple)));
        assert_eq!(count(Fruit::Fig), 0);
    }

    #[test]
    fn what_is_no_mix() {
        for wrong in [
            "",
            "plum=1",
            "apple=x",
            "apple=-1",
            "apple=1,apple=2",
            "apple=0",
            "apple=inf",
        ] {
            assert!(wrong.parse::<Mix<Fruit>>().is_err(), "{wrong}");
        }
        let told = "plum".parse::<Mix<Fruit>>().unwrap_err();
        assert_eq!(told, "\"plum\" is none of apple, pear, fig");
    }
}
