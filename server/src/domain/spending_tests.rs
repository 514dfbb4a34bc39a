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
    let refused = |meters: &Meters, number| {
        let mut tried = meters.clone();
        tried.admit(number, at(1), &rules).unwrap_err()
    };
    let mut meters = Meters::default();
    meters.admit([1; 16], at(0), &rules).unwrap();
    meters.admit([1; 16], at(0), &rules).unwrap();
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
    meters.admit([2; 16], at(0), &rules).unwrap();
    meters.range = RangeMeter::default();
    let day = at(86_400);
    assert_eq!(
        refused(&meters, [3; 16]),
        CodeRefusal::Capped(Cap::Tenant, day)
    );
}
