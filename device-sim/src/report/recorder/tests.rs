#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn recorder() -> (Recorder, StepId) {
    let mut steps = Steps::new();
    let create = steps.add("create", "until the challenge is there");
    (steps.recorder("until the decision"), create)
}

#[test]
fn a_second_holds_what_happened_in_it() {
    let (recorder, create) = recorder();
    for n in 0..100 {
        recorder.offered(ms(n * 10));
        recorder.started(ms(n * 10), ms(0));
        recorder.step(create, ms(2));
    }
    for n in 0..90 {
        recorder.completed(ms(1_000 + n), "APPROVED", ms(n + 1));
    }
    recorder.refused(ms(2_500));
    recorder.failed(ms(2_600));
    let recorded = recorder.finish();
    let series = &recorded.series;
    assert_eq!(series.len(), 3);
    assert_eq!((series[0].offered, series[0].started), (100, 100));
    assert_eq!((series[0].completed, series[0].in_flight), (0, 100));
    assert_eq!((series[0].p50_us, series[0].p99_us), (None, None));
    assert_eq!((series[1].completed, series[1].in_flight), (90, 10));
    let p50 = series[1].p50_us.unwrap();
    assert!((44_500..=45_900).contains(&p50), "{p50}");
    assert_eq!((series[2].refused, series[2].failed), (1, 1));
    assert_eq!(series[2].in_flight, 8);
    assert_eq!(recorded.outcomes["APPROVED"], 90);
    assert_eq!(recorded.steps[0].latency.count, 100);
    assert_eq!(recorded.steps[1].name, FLOW);
    assert_eq!(recorded.steps[1].latency.count, 90);
}

#[test]
fn a_tick_closes_the_second_before_and_files_the_sample_there() {
    let (recorder, _) = recorder();
    recorder.offered(ms(500));
    recorder.started(ms(500), ms(1));
    recorder.offered(ms(1_001));
    let sample = Sample {
        generator_cpu_cores: 0.5,
        broker_rss_bytes: Some(7),
        broker_cpu_cores: None,
    };
    let point = recorder.tick(ms(1_003), sample);
    assert_eq!((point.at_seconds, point.offered), (0, 1));
    assert_eq!((point.in_flight, point.broker_rss_bytes), (1, Some(7)));
    assert_eq!(recorder.totals().offered, 1, "the second under way");
    // Late news of a closed second still count.
    recorder.completed(ms(999), "DENIED", ms(400));
    let recorded = recorder.finish();
    assert_eq!(recorded.series[0].completed, 1);
    assert_eq!(recorded.series[0].broker_rss_bytes, Some(7));
    assert_eq!(recorded.series[1].offered, 1);
}

#[test]
fn seconds_without_events_are_there() {
    let (recorder, _) = recorder();
    recorder.offered(ms(100));
    recorder.offered(ms(4_100));
    let at: Vec<u64> = recorder
        .finish()
        .series
        .iter()
        .map(|p| p.at_seconds)
        .collect();
    assert_eq!(at, [0, 1, 2, 3, 4]);
}

#[test]
fn what_all_threads_recorded_is_merged() {
    let (recorder, create) = recorder();
    std::thread::scope(|scope| {
        for thread in 0..40_u64 {
            let recorder = &recorder;
            scope.spawn(move || {
                for n in 1..=100 {
                    recorder.offered(ms(n));
                    recorder.started(ms(n), ms(thread));
                    recorder.step(create, Duration::from_micros(thread * 100 + n));
                    recorder.completed(ms(n), "APPROVED", ms(n));
                    recorder.error(ms(n), "Respond", "UNAVAILABLE", "gone");
                }
            });
        }
    });
    let recorded = recorder.finish();
    let create = &recorded.steps[0].latency;
    assert_eq!(
        (create.count, create.min_us, create.max_us),
        (4_000, 1, 4_000)
    );
    assert!((create.mean_us - 2_000.5).abs() < 0.01);
    assert!(
        (1_995..=2_005).contains(&create.p50_us),
        "{}",
        create.p50_us
    );
    assert!(
        (3_955..=3_965).contains(&create.p99_us),
        "{}",
        create.p99_us
    );
    assert_eq!(create.buckets.iter().map(|b| b.1).sum::<u64>(), 4_000);
    assert_eq!(recorded.errors[0].count, 4_000);
    // Threads 11 to 39 started each of their flows more than 10 ms late.
    assert_eq!(recorded.late_starts, 29 * 100);
    assert_eq!(recorded.series[0].completed, 4_000);
    assert_eq!(recorded.series[0].in_flight, 0);
}

#[test]
fn reasons_that_never_repeat_do_not_fill_the_memory() {
    let (recorder, _) = recorder();
    for n in 0..10_000 {
        let call = format!("Call{}", n % 7);
        recorder.error(ms(n), &call, &format!("request {n}"), &"x".repeat(9_999));
    }
    let errors = recorder.finish().errors;
    assert!(errors.len() <= MOST_ERRORS + 7, "{}", errors.len());
    assert_eq!(errors.iter().map(|row| row.count).sum::<u64>(), 10_000);
    assert!(errors[0].reason == OTHER_REASONS && errors[0].count > 1_000);
    assert!(
        errors
            .iter()
            .all(|row| row.example.len() <= LONGEST_EXAMPLE)
    );
}

#[test]
fn calls_that_never_repeat_do_not_fill_it_either() {
    let (recorder, _) = recorder();
    for n in 0..2_000 {
        recorder.error(ms(9_000 - n), &format!("/{n}"), "NOT_FOUND", "");
    }
    let errors = recorder.finish().errors;
    assert_eq!(errors.len(), MOST_ERRORS * 2 + 1);
    assert_eq!(errors.iter().map(|row| row.count).sum::<u64>(), 2_000);
    assert_eq!(
        (errors[0].call.as_str(), errors[0].first_at_seconds),
        (OTHER_CALLS, 7)
    );
    assert_eq!(recorder.errors(), 2_000);
}

#[test]
fn a_time_beyond_the_histogram_keeps_its_maximum() {
    let latency = Latency::of([0, 5, 7_200_000_000]);
    assert_eq!((latency.min_us, latency.max_us), (0, 7_200_000_000));
    assert_eq!((latency.count, latency.p50_us), (3, 5));
    assert_eq!(Latency::of([]), Latency::default());
}

#[test]
fn quantiles_of_the_buckets_are_those_of_the_times() {
    let latency = Latency::of(1..=10_000);
    for (quantile, us) in [
        (0.0, 1.0),
        (0.5, 5_000.0),
        (0.999, 9_990.0),
        (1.0, 10_000.0),
    ] {
        let found = latency.quantile_us(quantile).unwrap() as f64;
        assert!((found / us - 1.0).abs() < 0.011, "{quantile}: {found}");
    }
    assert_eq!(Latency::default().quantile_us(0.5), None);
}
