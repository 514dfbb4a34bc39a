//! SMS pumping: somebody who earns by each text to numbers of their own has the
//! organisation send as many as it can be made to.

use std::sync::Arc;

use countersign_proto::v1;
use countersign_tests::{field, push::PushWorld};
use tonic::Code;

use super::{NUMBER, outcomes, seconds, why};

/// EUR for a text.
const PRICE: f64 = 0.08;
/// Numbers that differ in the last three digits only are of one range.
const RANGE: u64 = 1000;
/// Defaults of the policy: see `SmsPolicy`.
const PER_RANGE_HOUR: u64 = 20;
const PER_TENANT_DAY: u64 = 2000;

/// One attacker has `numbers` from `first` on registered, each for an account of
/// its own, from 32 connections. How many texts were promised.
async fn attack(world: &PushWorld, numbers: impl Iterator<Item = u64>) -> u64 {
    let numbers = Arc::new(parking_lot::Mutex::new(numbers.collect::<Vec<_>>()));
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let mut enrollments = world.broker.enrollments(&world.tenant);
        let numbers = Arc::clone(&numbers);
        attackers.spawn(async move {
            let mut promised = 0;
            loop {
                let Some(number) = numbers.lock().pop() else {
                    return promised;
                };
                let request = v1::AddPhoneRequest {
                    user_id: format!("{number}"),
                    phone_number: format!("+32{number}"),
                    ..v1::AddPhoneRequest::default()
                };
                match enrollments.add_phone(request).await {
                    Ok(_) => promised += 1,
                    Err(refused) => {
                        let (code, reason) = why(&refused);
                        assert_eq!(code, Code::ResourceExhausted);
                        assert!(["RANGE_CAP", "TENANT_CAP"].contains(&reason.as_str()));
                    }
                }
            }
        });
    }
    attackers.join_all().await.into_iter().sum()
}

/// Waits until so many texts have come; how many have.
async fn arrived(world: &PushWorld, promised: u64) -> u64 {
    let arrived = world.inbox().wait_until(|texts| {
        let sent = texts.len() as u64;
        (sent >= promised).then_some(sent)
    });
    countersign_tests::push::patiently("the texts", arrived).await
}

/// 10,000 numbers in a row, and then for the rest of the day as many as it takes:
/// 20 an hour of each thousand, 1,000 in all: the other half of the day's texts is
/// kept for codes that people sign in with. What that costs is the policy's to say:
/// EUR 80 a day at most, not EUR 800 in the first minute and again in every minute
/// after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_numbers_in_a_row() {
    const FIRST: u64 = 470_120_000;
    const NUMBERS: u64 = 10_000;
    let world = PushWorld::start().await;
    let ranges = NUMBERS / RANGE;
    let mut promised = attack(&world, FIRST..FIRST + NUMBERS).await;
    assert_eq!(promised, ranges * PER_RANGE_HOUR);
    // An operator is told: by a metric, by the audit trail.
    let alarms = "countersign_sms_range_alarms_total";
    assert_eq!(world.broker.metric(alarms, "").await, ranges);
    let told = outcomes(&world, "sms.range_alarm").await;
    assert_eq!(told.len() as u64, ranges);
    assert!(told.iter().all(|outcome| outcome == "BE"), "{told:?}");
    let refused = world
        .broker
        .metric("countersign_codes_refused_total", r#"reason="RANGE_CAP""#)
        .await;
    assert_eq!(refused, NUMBERS - promised);

    // Patient attackers come back as soon as they may.
    for hour in 1..24 {
        // A text that is still on its way would be too old.
        arrived(&world, promised).await;
        world.broker.pass(seconds(3600));
        let few = (0..ranges).flat_map(|range| {
            let first = FIRST + range * RANGE + hour * (PER_RANGE_HOUR + 2);
            first..first + PER_RANGE_HOUR + 2
        });
        promised += attack(&world, few).await;
    }
    assert_eq!(promised, PER_TENANT_DAY / 2);
    let cost = promised as f64 * PRICE;
    println!("{promised} texts in a day: EUR {cost:.2}");
    assert!((cost - 80.0).abs() < 0.01, "{cost}");
    let arrived = arrived(&world, promised).await;
    assert_eq!(arrived, promised, "no more than were counted");
    let capped = world
        .broker
        .metric("countersign_codes_refused_total", r#"reason="TENANT_CAP""#)
        .await;
    assert!(capped > 0);
    let told = outcomes(&world, "code.refused").await;
    for reason in ["RANGE_CAP", "TENANT_CAP"] {
        assert!(told.iter().any(|outcome| outcome == reason), "{reason}");
    }
}

/// Countries that the organisation has no people in are not texted: neither a
/// number that is to be added, nor one that was added when it was allowed.
#[tokio::test]
async fn other_countries_are_not_texted() {
    let world = PushWorld::start().await;
    for number in ["+33612345678", "+79161234567", "+94771234567"] {
        let added = world.broker.add_phone(&world.tenant, "tom", number).await;
        assert_eq!(field(&added.unwrap_err()), "phone_number");
    }
    assert_eq!(world.inbox().last_seq(), 0);
    let labels = r#"reason="COUNTRY""#;
    let refused = "countersign_codes_refused_total";
    assert_eq!(world.broker.metric(refused, labels).await, 3);
    assert_eq!(
        outcomes(&world, "code.refused").await,
        ["COUNTRY FR", "COUNTRY RU", "COUNTRY LK"]
    );

    world.phone_number("tom", NUMBER).await;
    world
        .rules(v1::TenantPolicy {
            sms: Some(v1::SmsPolicy {
                countries: vec!["NL".into()],
                ..v1::SmsPolicy::default()
            }),
            ..v1::TenantPolicy::default()
        })
        .await;
    let asked = world.ask("tom").await;
    assert_eq!(asked.reason(), v1::DecisionReason::Unreachable);
    assert_eq!(world.inbox().last_seq(), 1);
}

/// One number gets six an hour and twenty a day, whatever they are for and however
/// many accounts have it.
#[tokio::test]
async fn one_number_gets_only_so_many() {
    let world = PushWorld::start().await;
    let users: Vec<_> = (0..40).map(|n| format!("user-{n}")).collect();
    let mut users = users.iter();
    let mut sent = 0;
    for hour in 0..24 {
        let mut this_hour = 0;
        loop {
            let user = users.next().map_or("the last", String::as_str);
            match world.broker.add_phone(&world.tenant, user, NUMBER).await {
                Ok(_) => this_hour += 1,
                Err(refused) => {
                    let (code, reason) = why(&refused);
                    assert_eq!(code, Code::ResourceExhausted);
                    assert!(["NUMBER_CAP", "RESEND_TOO_SOON"].contains(&reason.as_str()));
                    break;
                }
            }
        }
        sent += this_hour;
        assert!(this_hour <= 6, "hour {hour}: {this_hour}");
        world.broker.pass(seconds(3600));
    }
    assert_eq!(sent, 20);
}

/// What tells the owner of a number that something has changed can't be had
/// without end either; and it has a share of its own, so that codes can't use up
/// what would warn them.
#[tokio::test]
async fn notices_are_capped_apart_from_codes() {
    let world = PushWorld::start().await;
    world.phone_number("tom", NUMBER).await;
    for _ in 0..6 {
        let asked = world.ask("tom").await;
        world.cancel(&asked.challenge_id).await;
    }
    let refused = world.ask_by("tom", v1::Method::Sms).await.unwrap_err();
    assert_eq!(why(&refused).1, "NUMBER_CAP");
    for _ in 0..50 {
        world.broker.pass(std::time::Duration::from_millis(1));
        world.broker.recovery_codes(&world.tenant, "tom").await;
    }
    assert_eq!(outcomes(&world, "notice.refused").await.len(), 50 - 6);
    let arrived = world.inbox().wait_until(|texts| {
        let is_notice = |text: &str| !text.starts_with(|c: char| c.is_ascii_digit());
        let notices = texts.iter().filter(|text| is_notice(&text.text)).count();
        (notices >= 6).then_some(notices)
    });
    let arrived = countersign_tests::push::patiently("the notices", arrived).await;
    assert_eq!(arrived, 6);
}
