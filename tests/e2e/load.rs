//! `device-sim load` against a broker: what comes out must add up, whatever the
//! users and the attackers do.

use std::{collections::BTreeMap, path::PathBuf};

use countersign_proto::v1;
use countersign_tests::{Tenant, TestBroker, in_time};
use device_sim::{
    gateway::{Gateways, GatewaysConfig},
    load::{
        Answer, Interrupt, LoadError, PrepareArgs, Prepared, RunArgs, Schedule, measure, prepare,
    },
    report::{LoadReport, json},
};
use tempfile::TempDir;

const IMPORT: &str = "[limits]\nallow_device_import = true\n";

/// A broker with its organisations, and their keys in files.
struct Place {
    broker: TestBroker,
    tenants: Vec<Tenant>,
    keys: TempDir,
}

impl Place {
    async fn new(toml: &str, policies: Vec<v1::TenantPolicy>) -> Self {
        let broker = TestBroker::start_real(toml).await;
        let keys = tempfile::tempdir().unwrap();
        std::fs::write(keys.path().join("admin"), &broker.admin_key).unwrap();
        let mut tenants = Vec::new();
        for (number, policy) in policies.into_iter().enumerate() {
            let tenant = broker.tenant_with(policy).await;
            std::fs::write(keys.path().join(number.to_string()), &tenant.api_key).unwrap();
            tenants.push(tenant);
        }
        Self {
            broker,
            tenants,
            keys,
        }
    }

    fn key(&self, name: impl ToString) -> String {
        let path: PathBuf = self.keys.path().join(name.to_string());
        path.display().to_string()
    }

    /// The broker and all keys, then `further`, in words.
    fn arguments(&self, further: &str) -> Vec<String> {
        let mut all = vec!["--broker".to_owned(), self.broker.address()];
        for number in 0..self.tenants.len() {
            all.extend(["--api-key-file".to_owned(), self.key(number)]);
        }
        all.extend(further.split_whitespace().map(str::to_owned));
        all
    }

    async fn prepare(&self, further: &str) -> Result<Prepared, LoadError> {
        let mut all = self.arguments(further);
        all.extend(["--admin-key-file".to_owned(), self.key("admin")]);
        let args = PrepareArgs::read(all.iter().map(String::as_str)).unwrap();
        in_time(prepare(args)).await
    }

    fn run_args(&self, further: &str) -> RunArgs {
        let mut all = self.arguments(further);
        all.extend([
            "--http".to_owned(),
            format!("http://{}", self.broker.http),
            "--quiet".to_owned(),
        ]);
        RunArgs::read(all.iter().map(String::as_str)).unwrap()
    }

    async fn run(&self, further: &str) -> Result<LoadReport, LoadError> {
        in_time(measure(self.run_args(further), Interrupt::default())).await
    }
}

fn matching(number_matching: v1::NumberMatching) -> v1::TenantPolicy {
    v1::TenantPolicy {
        number_matching: number_matching.into(),
        ..v1::TenantPolicy::default()
    }
}

/// What all reports have in common.
#[track_caller]
fn adds_up(report: &LoadReport, planned: usize) {
    let totals = report.totals();
    assert_eq!(totals.offered, planned as u64);
    assert_eq!(
        totals.started,
        totals.completed + totals.refused + totals.failed
    );
    let decided: u64 = report.outcomes.values().sum();
    assert_eq!(decided, totals.completed);
    let flow = report.step("flow").unwrap();
    assert_eq!(flow.latency.count, totals.completed);
    assert!(
        report.passed(),
        "{:#?} {:#?}",
        report.checks,
        report.attackers
    );
    for attacker in &report.attackers {
        assert!(attacker.attempts > 0, "{attacker:?} {:#?}", report.errors);
        assert_eq!(attacker.accepted, 0, "{attacker:?}");
    }
    // It can be kept, and compared with a later one.
    let text = json::to_string(report).unwrap();
    let read: LoadReport = serde_json::from_str(&text).unwrap();
    assert_eq!(read.totals(), totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_people_do_adds_up() {
    let policies = vec![matching(v1::NumberMatching::Always)];
    let place = Place::new(IMPORT, policies).await;
    let people = "--devices 320 --channels subscribe=3,fetch=1";
    let prepared = place.prepare(people).await.unwrap();
    assert_eq!(prepared.registered, 320);
    let again = place.prepare(people).await.unwrap();
    assert_eq!((again.registered, again.already_present), (0, 320));
    let load = format!(
        "{people} --rate 25/s --duration 8s --arrivals uniform --ttl 15s --drain 25s --poll 5s \
         --answers approve=60,deny=8,ignore=6,wrong-number=8,late=4,report=4,flaky=5,totp=5 \
         --attackers bomber=20/s,guesser=20/s,replayer=20/s --open-apps 100 --sample 1"
    );
    let report = place.run(&load).await.unwrap();
    adds_up(&report, 200);
    let mut planned: BTreeMap<_, u64> = BTreeMap::new();
    for arrival in Schedule::new(place.run_args(&load).plan(1).unwrap()) {
        let name = match arrival.answer {
            Answer::Approve | Answer::Totp => "APPROVED",
            Answer::Deny | Answer::WrongNumber | Answer::Report => "DENIED",
            Answer::Ignore | Answer::Late => "EXPIRED",
            Answer::Flaky => "FLAKY",
            Answer::Sms => unreachable!(),
        };
        *planned.entry(name).or_default() += 1;
    }
    // A busy machine may have the broker refuse some. Nobody is let in who did not
    // say yes, and nobody turned away who did.
    let totals = report.totals();
    let refused = totals.refused + totals.failed;
    let ended = |name: &str| report.outcomes.get(name).copied().unwrap_or_default();
    assert!(ended("APPROVED") > 0, "{:#?}", report.errors);
    let yes = planned["APPROVED"] + planned["FLAKY"];
    assert!(ended("APPROVED") <= yes);
    assert!(ended("DENIED") <= planned["DENIED"]);
    let turned = planned["DENIED"] - ended("DENIED");
    assert!(turned <= refused, "{:#?}", report.errors);
    // A prompt reaches its phone also where the page hung up while it asked.
    let short = yes - ended("APPROVED");
    assert!(short <= refused, "{short} of {yes}: {:#?}", report.errors);
    let looked_at: Vec<_> = report.checks.iter().map(|one| one.name.as_str()).collect();
    for name in [
        "no approval that our own phone or code did not give",
        "phone and identity provider told the same",
        "a decision read again is the same",
        "no answer after the end of a challenge counts",
        "receipts verify offline",
    ] {
        assert!(looked_at.contains(&name), "{name}: {looked_at:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_are_woken_and_codes_are_texted() {
    let gateways = Gateways::start(GatewaysConfig::default()).await.unwrap();
    let toml = format!(
        "{IMPORT}{}{}",
        gateways.broker_toml(),
        gateways.sms_toml("http://127.0.0.1:1")
    );
    let place = Place::new(&toml, vec![matching(v1::NumberMatching::Off)]).await;
    let people = format!(
        "--devices 60 --channels apns,fcm,fetch --gateways http://{}",
        gateways.control_addr()
    );
    place.prepare(&people).await.unwrap();
    let load = format!(
        "{people} --rate 10/s --duration 3s --answers approve=5,sms=1 --arrivals uniform \
         --wait watch --drain 30s"
    );
    let report = place.run(&load).await.unwrap();
    adds_up(&report, 30);
    let approved = report.outcomes.get("APPROVED").copied().unwrap_or_default();
    let refused = report.totals().refused;
    let told = || format!("{:?} {:#?}", report.outcomes, report.errors);
    assert_eq!(approved + refused, 30, "{}", told());
    assert!(approved > 0, "{}", told());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_organisations_share_the_load() {
    let policy = || matching(v1::NumberMatching::Off);
    let place = Place::new(IMPORT, vec![policy(), policy()]).await;
    place.prepare("--devices 40").await.unwrap();
    let load = "--devices 40 --rate 40/s --duration 1s --tenant-weights 3,1 --think 1ms";
    let planned: Vec<_> = Schedule::new(place.run_args(load).plan(2).unwrap()).collect();
    let report = place.run(load).await.unwrap();
    adds_up(&report, planned.len());
    let flows = |name| report.step(name).unwrap().latency.count;
    assert_eq!(flows("flow-1") + flows("flow-2"), flows("flow"));
    for (number, tenant) in place.tenants.iter().enumerate() {
        let request = v1::ListAuditEntriesRequest {
            tenant_id: tenant.id.clone(),
            action: "challenge.created".into(),
            page_size: 1000,
            ..v1::ListAuditEntriesRequest::default()
        };
        let asked = place.broker.admin().list_audit_entries(request).await;
        let asked = asked.unwrap().into_inner().entries.len();
        let meant = planned.iter().filter(|one| one.tenant == number).count();
        assert!(asked > 0 && asked <= meant, "{asked} of {meant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_still_has_a_report() {
    let place = Place::new(IMPORT, vec![matching(v1::NumberMatching::Off)]).await;
    place.prepare("--devices 20").await.unwrap();
    // Nobody answers, and nobody is waited for.
    let args = place.run_args(
        "--devices 20 --rate 10/s --duration 1h --arrivals uniform --answers ignore --drain 0s",
    );
    let mut trail = place
        .broker
        .admin()
        .watch_audit(v1::WatchAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    let interrupt = Interrupt::default();
    let run = tokio::spawn(measure(args, interrupt.clone()));
    let mut asked = 0;
    while asked < 2 {
        let page = in_time(trail.message()).await.unwrap().unwrap();
        let entries = page.entries.iter();
        asked += entries
            .filter(|entry| entry.action == "challenge.created")
            .count();
    }
    interrupt.stop.cancel();
    let report = in_time(run).await.unwrap().unwrap();
    let totals = report.totals();
    assert!(totals.offered > 0 && totals.offered < 36_000);
    assert_eq!(report.outcomes.get("CANCELLED"), Some(&totals.started));
    assert!(report.passed(), "{:#?}", report.checks);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_run_from_starting_is_told() {
    let place = Place::new("", vec![matching(v1::NumberMatching::Off)]).await;
    let told = |error: LoadError| error.to_string();
    let missing = told(place.run("--devices 5").await.unwrap_err());
    assert!(missing.contains("load prepare"), "{missing}");
    // An operator has to allow it.
    let refused = told(place.prepare("--devices 5").await.unwrap_err());
    assert!(refused.contains("ImportDevices"), "{refused}");
    let key = place.key(0);
    let nowhere = ["--broker", "http://127.0.0.1:1", "--api-key-file", &key];
    let nowhere = RunArgs::read(nowhere).unwrap();
    let nowhere = in_time(measure(nowhere, Interrupt::default())).await;
    let nowhere = told(nowhere.unwrap_err());
    assert!(nowhere.contains("no connection to"), "{nowhere}");
    let wrong = format!("csk_{}_{}", "0".repeat(16), "0".repeat(40));
    std::fs::write(place.keys.path().join("0"), wrong).unwrap();
    let key = told(place.run("--devices 5").await.unwrap_err());
    assert!(key.contains("does not accept API key"), "{key}");
    std::fs::write(place.keys.path().join("0"), "nonsense").unwrap();
    let nonsense = told(place.run("--devices 5").await.unwrap_err());
    assert!(nonsense.starts_with("--api-key-file"), "{nonsense}");
}
