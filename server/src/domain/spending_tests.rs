#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::domain::code::Cap;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
}

proptest! {
    /// In no hour that a meter began, nor in any day, more than the limit; over
    /// any 60 minutes at most twice the limit (the end of one and the start of
    /// the next).
    #[test]
    fn a_meter_holds_its_limits(
        mut times in proptest::collection::vec(0_u64..200_000, 1..400),
        per_hour in 1_u32..10,
        per_day in 1_u32..40,
    ) {
        times.sort_unstable();
        let mut meter = Meter::default();
        let mut sent: Vec<u64> = Vec::new();
        for second in times {
            let before = meter.clone();
            match meter.admit(at(second), per_hour, per_day) {
                Ok(()) => sent.push(second),
                Err(until) => {
                    prop_assert!(until > at(second));
                    prop_assert_eq!((meter.hour, meter.day), {
                        let mut same = before;
                        if at(second).since(same.hour_start) >= HOUR { same.hour = 0; }
                        if at(second).since(same.day_start) >= DAY { same.day = 0; }
                        (same.hour, same.day)
                    });
                    // There is room at that time.
                    prop_assert!(meter.clone().admit(until, per_hour, per_day).is_ok());
                }
            }
        }
        for from in &sent {
            let within = |length: u64| {
                let count = sent.iter().filter(|at| (*from..from + length).contains(at)).count();
                u32::try_from(count).unwrap()
            };
            prop_assert!(within(3600) <= 2 * per_hour);
            prop_assert!(within(86_400) <= 2 * per_day);
        }
    }
}

#[test]
fn a_range_counts_numbers_and_alarms_once() {
    let rules = policy::Sms {
        per_range_hour: 4,
        range_alarm: 3,
        ..policy::Sms::default()
    };
    let mut range = RangeMeter::default();
    let mut admit = |n: u8, second| range.admit([n; 16], at(second), &rules);
    assert_eq!(admit(1, 0), Ok(false));
    assert_eq!(admit(1, 1), Ok(false), "the same number again");
    assert_eq!(admit(2, 2), Ok(false));
    assert_eq!(admit(3, 3), Ok(true));
    assert_eq!(admit(3, 4), Ok(false));
    assert_eq!(admit(4, 5), Ok(false));
    assert_eq!(admit(5, 6), Err(at(3600)));
    assert_eq!(admit(4, 7), Ok(false), "known already");
    assert_eq!(admit(5, 3600), Ok(false));
}

#[test]
fn each_limit_says_which_it_is() {
    let rules = policy::Sms {
        per_number_hour: 2,
        per_range_hour: 1,
        per_tenant_day: 3,
        ..policy::Sms::default()
    };
    let young = Counted::SignIn(at(0));
    let refused = |meters: &Meters, number| {
        let mut tried = meters.clone();
        tried.admit(young, number, at(1), &rules).unwrap_err()
    };
    let mut meters = Meters::default();
    meters.admit(young, [1; 16], at(0), &rules).unwrap();
    meters.admit(young, [1; 16], at(0), &rules).unwrap();
    let hour = at(3600);
    assert_eq!(
        refused(&meters, [1; 16]),
        CodeRefusal::Capped(Cap::Number, hour)
    );
    meters.number = Meter::default();
    assert_eq!(
        refused(&meters, [2; 16]),
        CodeRefusal::Capped(Cap::Range, hour)
    );
    meters.range = RangeMeter::default();
    meters.admit(young, [2; 16], at(0), &rules).unwrap();
    meters.range = RangeMeter::default();
    let day = at(86_400);
    assert_eq!(
        refused(&meters, [3; 16]),
        CodeRefusal::Capped(Cap::Tenant, day)
    );
}

#[test]
fn a_user_proves_few_numbers() {
    let rules = policy::Sms::default();
    let mut meters = Meters::default();
    let mut add = |n: u8, second| {
        // Each number in a range of its own.
        (meters.number, meters.range) = (Meter::default(), RangeMeter::default());
        meters.admit(Counted::Confirmation, [n; 16], at(second), &rules)
    };
    for n in 0..5 {
        assert_eq!(add(n, 0), Ok(false));
    }
    let capped = |until| Err(CodeRefusal::Capped(Cap::User, at(until)));
    assert_eq!(add(6, 1), capped(3600));
    for n in 0..5 {
        assert_eq!(add(n, 3600), Ok(false));
    }
    assert_eq!(add(6, 7200), capped(86_400));
    assert_eq!(add(6, 86_400), Ok(false));
}

#[test]
fn neighbours_of_long_standing_all_sign_in() {
    let rules = policy::Sms::default();
    let mut meters = Meters::default();
    let mut sign_in = |n: u8, added, second| {
        meters.number = Meter::default();
        meters.admit(Counted::SignIn(at(added)), [n; 16], at(second), &rules)
    };
    let week = RANGE_WATCHED.as_secs();
    for n in 0..25 {
        assert_eq!(sign_in(n, 0, week), Ok(false), "{n}");
    }
    let mut alarms = 0;
    for n in 0..20 {
        alarms += u32::from(sign_in(n, 1, week).unwrap());
    }
    assert_eq!(alarms, 1);
    let refused = sign_in(20, 1, week).unwrap_err();
    assert!(matches!(refused, CodeRefusal::Capped(Cap::Range, _)));
}

#[test]
fn half_of_the_day_is_for_sign_ins() {
    let rules = policy::Sms {
        per_tenant_day: 7,
        ..policy::Sms::default()
    };
    let mut meters = Meters::default();
    let mut count = |counted| {
        meters.number = Meter::default();
        meters.admit(counted, [1; 16], at(1), &rules)
    };
    let capped = Err(CodeRefusal::Capped(Cap::Tenant, at(86_401)));
    for _ in 0..2 {
        assert_eq!(count(Counted::Notice), Ok(false));
        assert_eq!(count(Counted::Confirmation), Ok(false));
    }
    assert_eq!(count(Counted::Notice), capped);
    assert_eq!(count(Counted::Confirmation), capped);
    for _ in 0..3 {
        assert_eq!(count(Counted::SignIn(at(0))), Ok(false));
    }
    assert_eq!(count(Counted::SignIn(at(0))), capped);
}

#[test]
fn what_never_went_out_does_not_count() {
    let rules = policy::Sms::default();
    for counted in [
        Counted::SignIn(at(0)),
        Counted::Confirmation,
        Counted::Notice,
    ] {
        let mut meters = Meters::default();
        meters.admit(counted, [1; 16], at(10), &rules).unwrap();
        let once = meters.clone();
        meters.admit(counted, [1; 16], at(11), &rules).unwrap();
        meters.give_back(counted, at(11));
        assert_eq!(meters, once, "{counted:?}");
        // What was counted in an hour that is over is no part of this one.
        meters.give_back(counted, at(9));
        assert_eq!(meters, once, "{counted:?}");
    }
}
