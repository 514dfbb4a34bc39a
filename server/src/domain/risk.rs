//! What is out of the ordinary about a sign-in: with
//! [`WhenRisky`](super::policy::NumberMatching::WhenRisky) any of it makes the
//! user type a number.

use std::{net::IpAddr, time::Duration};

use super::{
    account::Account, browser::Standing, context::SignInContext, policy::Policy, spending::Tag,
    time::Timestamp,
};

/// Origins of approvals that are remembered of one user.
pub const MAX_ORIGINS: usize = 8;
/// How long a denial counts.
pub const DENIAL_COUNTS: Duration = Duration::from_secs(24 * 3600);

/// Where a sign-in comes from, known by keyed hashes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Stands for the network, where an address was given.
    pub network: Option<Tag>,
    /// Stands for the place, where one was given.
    pub place: Option<Tag>,
}

/// A rule that a sign-in is out of the ordinary by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// It comes with no token of a browser that was remembered of this user.
    /// Where policy remembers none, this says nothing and does not count.
    UnknownBrowser,
    /// None of the last approvals came from this network.
    NewNetwork,
    /// None of the last approvals came from this place.
    NewPlace,
    /// The user denied or reported a sign-in within the last day.
    RecentDenial,
    /// Something wrong was typed since the last success.
    RecentFailures,
}

impl Risk {
    /// Its name in the contract, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownBrowser => "UNKNOWN_BROWSER",
            Self::NewNetwork => "NEW_NETWORK",
            Self::NewPlace => "NEW_PLACE",
            Self::RecentDenial => "RECENT_DENIAL",
            Self::RecentFailures => "RECENT_FAILURES",
        }
    }
}

/// The network of an address: its first 24 bits (IPv4), or 48 (IPv6: what one
/// site is given, RFC 6177, section 2). None for what is no address.
#[must_use]
pub fn network(address: &str) -> Option<Vec<u8>> {
    let address: IpAddr = address.parse().ok()?;
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().get(..3).map(<[u8]>::to_vec),
        IpAddr::V6(address) => address.octets().get(..6).map(<[u8]>::to_vec),
    }
}

/// A place as it is compared: case and surrounding spaces don't matter. None
/// where none was given.
#[must_use]
pub fn place(context: &SignInContext) -> Option<String> {
    let place = context.location.trim();
    (!place.is_empty()).then(|| place.to_lowercase())
}

/// Everything that is out of the ordinary. `browser` is what the token that came
/// with it is worth, none without one. A token that approves counts as none: the
/// user is asked only where somebody else has just used it.
#[must_use]
pub fn assess(
    browser: Option<Standing>,
    origin: &Origin,
    account: &Account,
    rules: &Policy,
    now: Timestamp,
) -> Vec<Risk> {
    let known = &account.origins;
    let denied = account.last_denial;
    let new = |tag: Option<Tag>, of: fn(&Origin) -> Option<Tag>| {
        tag.is_some() && !known.iter().any(|origin| of(origin) == tag)
    };
    [
        (
            Risk::UnknownBrowser,
            rules.browser_days > 0 && browser != Some(Standing::Known),
        ),
        (Risk::NewNetwork, new(origin.network, |known| known.network)),
        (Risk::NewPlace, new(origin.place, |known| known.place)),
        (
            Risk::RecentDenial,
            denied.is_some_and(|at| now < at.after(DENIAL_COUNTS)),
        ),
        (Risk::RecentFailures, account.failures > 0),
    ]
    .into_iter()
    .filter_map(|(risk, there)| there.then_some(risk))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{TenantId, UserId};

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
    const HOME: Origin = Origin {
        network: Some([1; 16]),
        place: Some([2; 16]),
    };

    fn at_home() -> Account {
        let user = UserId::from_stored("tom".into());
        let mut account = Account::new(TenantId::from_bytes([9; 16]), user);
        account.note_origin(HOME);
        account
    }

    fn found(browser: Option<Standing>, origin: Origin, account: &Account) -> Vec<&'static str> {
        let risks = assess(browser, &origin, account, &Policy::default(), NOW);
        risks.into_iter().map(Risk::name).collect()
    }

    #[test]
    fn each_rule_by_itself() {
        let known = Some(Standing::Known);
        let ordinary = at_home();
        assert!(found(known, HOME, &ordinary).is_empty());
        for browser in [None, Some(Standing::Replayed), Some(Standing::Approves)] {
            assert_eq!(found(browser, HOME, &ordinary), ["UNKNOWN_BROWSER"]);
        }
        let elsewhere = Origin {
            network: Some([3; 16]),
            ..HOME
        };
        assert_eq!(found(known, elsewhere, &ordinary), ["NEW_NETWORK"]);
        let elsewhere = Origin {
            place: Some([3; 16]),
            ..HOME
        };
        assert_eq!(found(known, elsewhere, &ordinary), ["NEW_PLACE"]);
        let mut denied = at_home();
        denied.last_denial = Some(NOW.before(DENIAL_COUNTS - Duration::from_millis(1)));
        assert_eq!(found(known, HOME, &denied), ["RECENT_DENIAL"]);
        denied.last_denial = Some(NOW.before(DENIAL_COUNTS));
        assert!(found(known, HOME, &denied).is_empty());
        let mut failed = at_home();
        failed.failures = 1;
        assert_eq!(found(known, HOME, &failed), ["RECENT_FAILURES"]);
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let nowhere = Origin::default();
        assert!(found(Some(Standing::Known), nowhere, &at_home()).is_empty());
        // The first sign-in of all comes from somewhere new.
        let user = UserId::from_stored("ann".into());
        let nobody = Account::new(TenantId::from_bytes([9; 16]), user);
        assert_eq!(
            found(None, HOME, &nobody),
            ["UNKNOWN_BROWSER", "NEW_NETWORK", "NEW_PLACE"]
        );
        let never = Policy {
            browser_days: 0,
            ..Policy::default()
        };
        assert!(assess(None, &HOME, &at_home(), &never, NOW).is_empty());
    }

    #[test]
    fn the_last_origins_are_kept() {
        let mut account = at_home();
        let other = |n: u8| Origin {
            network: Some([n; 16]),
            place: None,
        };
        for n in 10..17 {
            assert!(account.note_origin(other(n)));
        }
        assert_eq!(account.origins.len(), MAX_ORIGINS);
        // Seen again: the last to leave.
        assert!(account.note_origin(HOME));
        assert!(!account.note_origin(HOME));
        assert!(account.note_origin(other(17)));
        assert_eq!(account.origins.len(), MAX_ORIGINS);
        assert!(account.origins.contains(&HOME));
        assert!(!account.origins.contains(&other(10)));
        assert!(!account.note_origin(Origin::default()));
    }

    #[test]
    fn networks_and_places() {
        let same = |a: &str, b: &str| network(a).is_some() && network(a) == network(b);
        assert!(same("198.51.100.7", "198.51.100.250"));
        assert!(same("198.51.100.7", "::ffff:198.51.100.9"));
        assert!(!same("198.51.100.7", "198.51.101.7"));
        assert!(same("2001:db8:1::1", "2001:db8:1:ffff::2"));
        assert!(!same("2001:db8:1::1", "2001:db8:2::1"));
        assert_eq!(network(""), None);
        let at = |location: &str| {
            place(&SignInContext {
                location: location.into(),
                ..SignInContext::default()
            })
        };
        assert_eq!(at(" Gent, België "), at("gent, belgië"));
        assert_ne!(at("Gent"), at("Genk"));
        assert_eq!(at("  "), None);
    }
}
