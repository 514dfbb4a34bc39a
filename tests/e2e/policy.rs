//! The rules of organisations: presets, changes, versions, who may see them, and
//! that they count at once.

use countersign_proto::v1::{
    self, ChallengeState as S, DecisionReason as R, NumberMatching, PolicyPreset, TenantPolicy,
    admin_service_client::AdminServiceClient,
};
use countersign_tests::{
    Authorized, Bearer, Tenant, TestBroker, end, field, reason, two_tenants::unknown_id,
};
use prost_types::{Duration, FieldMask};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

async fn create(
    broker: &TestBroker,
    request: v1::CreateTenantRequest,
) -> Result<v1::Tenant, Status> {
    let request = v1::CreateTenantRequest {
        display_name: "Eagle IT BVBA".into(),
        ..request
    };
    let made = broker.admin().create_tenant(request).await?;
    Ok(made.into_inner().tenant.unwrap())
}

async fn get(broker: &TestBroker, tenant_id: &str) -> TenantPolicy {
    let tenant_id = tenant_id.to_owned();
    let request = v1::GetPolicyRequest { tenant_id };
    let policy = broker.admin().get_policy(request).await.unwrap();
    policy.into_inner().policy.unwrap()
}

async fn update(
    broker: &TestBroker,
    request: v1::UpdatePolicyRequest,
) -> Result<TenantPolicy, Status> {
    let answer = broker.admin().update_policy(request).await?;
    Ok(answer.into_inner().policy.unwrap())
}

/// The fields that a status names.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let bad = details.bad_request().unwrap().field_violations.iter();
    bad.map(|violation| violation.field.clone()).collect()
}

fn days(tenant_id: &str, days: u32) -> v1::UpdatePolicyRequest {
    v1::UpdatePolicyRequest {
        tenant_id: tenant_id.into(),
        policy: Some(TenantPolicy {
            browser_days: Some(days),
            ..TenantPolicy::default()
        }),
        ..v1::UpdatePolicyRequest::default()
    }
}

#[tokio::test]
async fn an_organisation_starts_with_defaults_a_preset_and_its_own_wishes() {
    let broker = TestBroker::start().await;
    let plain = create(&broker, v1::CreateTenantRequest::default()).await;
    let plain = plain.unwrap().policy.unwrap();
    assert_eq!(plain.version, 1);
    assert_eq!(plain.number_matching(), NumberMatching::Always);
    assert!(plain.sms.unwrap().countries.is_empty());

    let asked = v1::CreateTenantRequest {
        preset: PolicyPreset::Nist.into(),
        country: "BE".into(),
        policy: Some(TenantPolicy {
            codes: Some(v1::CodesPolicy {
                digits: Some(8),
                ..v1::CodesPolicy::default()
            }),
            encrypted_prompts: Some(false),
            ..TenantPolicy::default()
        }),
        ..v1::CreateTenantRequest::default()
    };
    let made = create(&broker, asked).await.unwrap();
    let policy = made.policy.unwrap();
    assert_eq!(get(&broker, &made.tenant_id).await, policy);
    assert_eq!(policy.number_digits, 6);
    assert_eq!(policy.browser_days, Some(0));
    let codes = policy.codes.unwrap();
    assert_eq!((codes.digits, codes.fallback_after), (Some(8), seconds(0)));
    assert_eq!(codes.ttl, seconds(300));
    assert_eq!(policy.methods.unwrap().sms, Some(false));
    assert_eq!(policy.sms.unwrap().countries, ["BE"]);

    // Countries that were named are not added to.
    let asked = v1::CreateTenantRequest {
        country: "BE".into(),
        policy: Some(TenantPolicy {
            sms: Some(v1::SmsPolicy {
                countries: vec!["NL".into(), "DE".into()],
                ..v1::SmsPolicy::default()
            }),
            ..TenantPolicy::default()
        }),
        ..v1::CreateTenantRequest::default()
    };
    let policy = create(&broker, asked).await.unwrap().policy.unwrap();
    assert_eq!(policy.sms.unwrap().countries, ["NL", "DE"]);
    for country in ["UK", "be", "BEL"] {
        let asked = v1::CreateTenantRequest {
            country: country.into(),
            ..v1::CreateTenantRequest::default()
        };
        assert_eq!(field(&create(&broker, asked).await.unwrap_err()), "country");
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_named_at_once() {
    let broker = TestBroker::start().await;
    let wrong = TenantPolicy {
        number_digits: 7,
        challenge_ttl: seconds(601),
        methods: Some(v1::MethodsPolicy {
            sms: Some(false),
            recommended: v1::Method::Sms.into(),
            ..v1::MethodsPolicy::default()
        }),
        sms: Some(v1::SmsPolicy {
            countries: vec!["BE".into(), "UK".into()],
            ..v1::SmsPolicy::default()
        }),
        fatigue: Some(v1::FatiguePolicy {
            first_wait: seconds(600),
            longest_wait: seconds(60),
            ..v1::FatiguePolicy::default()
        }),
        language: Some("tlh".into()),
        ..TenantPolicy::default()
    };
    let named = [
        "policy.number_digits",
        "policy.challenge_ttl",
        "policy.methods.recommended",
        "policy.sms.countries[1]",
        "policy.fatigue.longest_wait",
        "policy.language",
    ];
    let asked = v1::CreateTenantRequest {
        policy: Some(wrong.clone()),
        ..v1::CreateTenantRequest::default()
    };
    let refused = create(&broker, asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), named);

    let tenant = broker.tenant().await;
    let before = get(&broker, &tenant.id).await;
    let asked = v1::UpdatePolicyRequest {
        tenant_id: tenant.id.clone(),
        policy: Some(wrong),
        ..v1::UpdatePolicyRequest::default()
    };
    let refused = update(&broker, asked).await.unwrap_err();
    assert_eq!(fields(&refused), named);
    assert_eq!(get(&broker, &tenant.id).await, before);
}

#[tokio::test]
async fn what_is_set_changes_and_what_is_masked_goes_back() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let first = get(&broker, &tenant.id).await;
    let start = prost_types::Timestamp {
        seconds: 1_800_000_000,
        nanos: 0,
    };
    let policy = TenantPolicy {
        enrollment: Some(v1::EnrollmentPolicy {
            enforcement: v1::Enforcement::Encouraged.into(),
            start_time: Some(start),
            max_snoozes: Some(0),
            ..v1::EnrollmentPolicy::default()
        }),
        codes: Some(v1::CodesPolicy {
            digits: Some(8),
            fallback_after: seconds(0),
            ..v1::CodesPolicy::default()
        }),
        ..TenantPolicy::default()
    };
    let asked = v1::UpdatePolicyRequest {
        tenant_id: tenant.id.clone(),
        policy: Some(policy.clone()),
        ..v1::UpdatePolicyRequest::default()
    };
    let second = update(&broker, asked).await.unwrap();
    assert_eq!(get(&broker, &tenant.id).await, second);
    let enrollment = second.enrollment.unwrap();
    assert_eq!(enrollment.enforcement(), v1::Enforcement::Encouraged);
    assert_eq!(enrollment.start_time, Some(start));
    assert_eq!(enrollment.max_snoozes, Some(0));
    let codes = second.codes.unwrap();
    assert_eq!((codes.digits, codes.fallback_after), (Some(8), seconds(0)));
    // All else as it was.
    let mut rest = second.clone();
    rest.version = first.version;
    rest.enrollment = first.enrollment;
    rest.codes = first.codes;
    assert_eq!(rest, first);

    let masked = |paths: &[&str], policy: TenantPolicy| v1::UpdatePolicyRequest {
        tenant_id: tenant.id.clone(),
        policy: Some(policy),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..v1::UpdatePolicyRequest::default()
    };
    // Named and not set: back to the default; set and not named: as it is.
    let other = TenantPolicy {
        browser_days: Some(1),
        ..TenantPolicy::default()
    };
    let paths = ["sms.countries", "enrollment.start_time", "codes"];
    let third = update(&broker, masked(&paths, other)).await.unwrap();
    assert!(third.sms.clone().unwrap().countries.is_empty());
    assert_eq!(third.enrollment.unwrap().start_time, None);
    assert_eq!(third.codes, first.codes);
    assert_eq!(third.browser_days, first.browser_days);
    assert_eq!(third.enrollment.unwrap().max_snoozes, Some(0));

    let whole = update(&broker, masked(&["*"], first.clone())).await;
    assert_eq!(
        whole.unwrap(),
        TenantPolicy {
            version: 4,
            ..first
        }
    );
    let nothing = masked(&["codes.length"], policy);
    assert_eq!(
        field(&update(&broker, nothing).await.unwrap_err()),
        "update_mask"
    );
}

#[tokio::test]
async fn a_preset_leaves_what_is_the_organisations_own() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let before = get(&broker, &tenant.id).await;
    let listed = broker
        .admin()
        .list_policy_presets(v1::ListPolicyPresetsRequest {})
        .await
        .unwrap()
        .into_inner()
        .presets;
    let names: Vec<_> = listed.iter().map(|preset| preset.name.as_str()).collect();
    assert_eq!(
        names,
        ["standard", "nist", "phishing-hardened", "low-friction"]
    );
    for preset in listed {
        assert!(!preset.summary.is_empty());
        let described = preset.policy.clone().unwrap();
        let asked = v1::UpdatePolicyRequest {
            tenant_id: tenant.id.clone(),
            preset: preset.preset,
            ..v1::UpdatePolicyRequest::default()
        };
        let mut applied = update(&broker, asked).await.unwrap();
        assert_eq!(applied.sms.clone().unwrap().countries, ["BE"]);
        assert_eq!(applied.enrollment, before.enrollment);
        applied.sms.as_mut().unwrap().countries.clear();
        applied.version = described.version;
        assert_eq!(applied, described, "{}", preset.name);
    }
}

/// No restart, no cache: the next sign-in is asked for as the rules now are.
#[tokio::test]
async fn rules_count_from_the_next_call_on() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    assert_eq!(broker.ask(&tenant, "tom").await.number_to_match, "");
    let asked = v1::UpdatePolicyRequest {
        tenant_id: tenant.id.clone(),
        preset: PolicyPreset::PhishingHardened.into(),
        ..v1::UpdatePolicyRequest::default()
    };
    let changed = update(&broker, asked).await.unwrap();
    let asked = broker.ask(&tenant, "tom").await;
    assert_eq!(asked.number_to_match.len(), 6);
    let signed = phone.list_pending().await.unwrap().challenges.remove(0);
    phone
        .respond(&signed, v1::Decision::Approve, &asked.number_to_match)
        .await
        .unwrap();
    let decided = broker.decided(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Approved, R::UserApproved));

    broker.restart().await;
    assert_eq!(get(&broker, &tenant.id).await, changed);
    let versions = versions(&broker.admin(), &tenant, 0).await;
    let numbers: Vec<_> = versions.iter().map(version).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(versions[0].policy, Some(changed));
}

fn version(version: &v1::PolicyVersion) -> u64 {
    version.policy.as_ref().unwrap().version
}

async fn versions(
    admin: &AdminServiceClient<Authorized>,
    tenant: &Tenant,
    before_version: u64,
) -> Vec<v1::PolicyVersion> {
    let request = v1::ListPolicyVersionsRequest {
        tenant_id: tenant.id.clone(),
        page_size: 2,
        before_version,
    };
    let answer = admin.clone().list_policy_versions(request).await.unwrap();
    answer.into_inner().versions
}

#[tokio::test]
async fn of_changes_to_the_same_version_exactly_one_counts() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let many: Vec<_> = (0..20)
        .map(|n| {
            let mut admin = broker.admin();
            let request = v1::UpdatePolicyRequest {
                expected_version: 1,
                ..days(&tenant.id, n)
            };
            tokio::spawn(async move { admin.update_policy(request).await })
        })
        .collect();
    let mut done = Vec::new();
    for one in many {
        match one.await.unwrap() {
            Ok(answer) => done.push(answer.into_inner().policy.unwrap()),
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
                assert_eq!(reason(&status), "VERSION_CHANGED");
                let details = status.get_error_details();
                let metadata = &details.error_info().unwrap().metadata;
                assert_eq!(metadata["version"], "2");
            }
        }
    }
    let [done] = done.as_slice() else {
        panic!("{done:?}")
    };
    assert_eq!(get(&broker, &tenant.id).await, *done);
    assert_eq!(done.version, 2);

    // Those that insist on no version all count, one after the other.
    let many: Vec<_> = (50..55)
        .map(|n| {
            let mut admin = broker.admin();
            let request = days(&tenant.id, n);
            tokio::spawn(async move { admin.update_policy(request).await })
        })
        .collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
    let last = get(&broker, &tenant.id).await;
    assert_eq!(last.version, 7);
    let admin = broker.admin();
    let numbers = |list: &[v1::PolicyVersion]| list.iter().map(version).collect::<Vec<_>>();
    assert_eq!(numbers(&versions(&admin, &tenant, 0).await), [7, 6]);
    let next = versions(&admin, &tenant, 6).await;
    assert_eq!(numbers(&next), [5, 4]);
    let by = format!("api_key:{}", broker.admin_key.split('_').nth(1).unwrap());
    assert!(next.iter().all(|version| version.changed_by == by));
    assert!(versions(&admin, &tenant, 1).await.is_empty());

    // What changes nothing makes no version.
    let same = days(&tenant.id, last.browser_days.unwrap());
    assert_eq!(update(&broker, same).await.unwrap(), last);
}

#[tokio::test]
async fn rules_and_devices_of_others_do_not_exist() {
    let broker = TestBroker::start().await;
    let (own, other) = (broker.tenant().await, broker.tenant().await);
    let (key, _) = broker.api_key(&own.id, v1::Role::Admin).await;
    let mut admin = AdminServiceClient::with_interceptor(broker.channel(), Bearer(key));
    let (mine, theirs) = (
        broker.phone(&own, "tom").await,
        broker.phone(&other, "tom").await,
    );
    let before = get(&broker, &other.id).await;
    for tenant_id in [unknown_id(), other.id.clone()] {
        let request = v1::GetPolicyRequest {
            tenant_id: tenant_id.clone(),
        };
        let mut refusals = vec![admin.get_policy(request).await.unwrap_err()];
        let changed = admin.update_policy(days(&tenant_id, 3)).await;
        refusals.push(changed.unwrap_err());
        let request = v1::ListPolicyVersionsRequest {
            tenant_id: tenant_id.clone(),
            ..v1::ListPolicyVersionsRequest::default()
        };
        refusals.push(admin.list_policy_versions(request).await.unwrap_err());
        let request = v1::ListDevicesRequest {
            tenant_id: tenant_id.clone(),
            user_id: "tom".into(),
        };
        refusals.push(admin.list_devices(request).await.unwrap_err());
        let request = v1::RemoveDeviceRequest {
            tenant_id,
            device_id: theirs.device_id().into(),
        };
        refusals.push(admin.remove_device(request).await.unwrap_err());
        for refused in refusals {
            assert_eq!(refused.code(), Code::NotFound);
            assert_eq!(refused.message(), "tenant not found");
        }
    }
    assert_eq!(get(&broker, &other.id).await, before);

    // Of its own organisation it changes the rules, and takes devices away.
    let answer = admin.update_policy(days(&own.id, 3)).await.unwrap();
    let policy = answer.into_inner().policy.unwrap();
    assert_eq!(policy.browser_days, Some(3));
    let of_tom = v1::ListDevicesRequest {
        tenant_id: own.id.clone(),
        user_id: "tom".into(),
    };
    let list = admin.list_devices(of_tom.clone()).await.unwrap();
    let ids: Vec<_> = list
        .into_inner()
        .devices
        .into_iter()
        .map(|device| device.authenticator_id)
        .collect();
    assert_eq!(ids, [mine.device_id()]);
    let asked = broker.ask(&own, "tom").await;
    let remove = |phone: &device_sim::phone::Phone| v1::RemoveDeviceRequest {
        tenant_id: own.id.clone(),
        device_id: phone.device_id().into(),
    };
    let refused = admin.remove_device(remove(&theirs)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let removed = admin.remove_device(remove(&mine)).await.unwrap();
    assert_eq!(removed.into_inner().user_id, "tom");
    let decided = broker.decided(&own, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Denied, R::Unreachable));
    let again = admin.remove_device(remove(&mine)).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let list = admin.list_devices(of_tom).await.unwrap();
    assert!(list.into_inner().devices.is_empty());
}

/// The trail names the version and each field that changed, old and new; a
/// refused change leaves nothing there.
#[tokio::test]
async fn each_change_is_on_record() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    update(&broker, days(&tenant.id, 7)).await.unwrap();
    update(&broker, days(&tenant.id, 7)).await.unwrap();
    update(&broker, days(&tenant.id, 91)).await.unwrap_err();
    let preset = v1::UpdatePolicyRequest {
        tenant_id: tenant.id.clone(),
        preset: PolicyPreset::LowFriction.into(),
        ..v1::UpdatePolicyRequest::default()
    };
    update(&broker, preset).await.unwrap();
    let request = v1::ListAuditEntriesRequest {
        tenant_id: tenant.id.clone(),
        action: "policy.changed".into(),
        ..v1::ListAuditEntriesRequest::default()
    };
    let answer = broker.admin().list_audit_entries(request).await.unwrap();
    let mut entries = answer.into_inner().entries;
    entries.sort_by_key(|entry| entry.sequence);
    let by = format!("api_key:{}", broker.admin_key.split('_').nth(1).unwrap());
    assert!(entries.iter().all(|entry| entry.actor == by));
    assert!(entries.iter().all(|entry| entry.object == tenant.id));
    assert!(entries.iter().all(|entry| !entry.address.is_empty()));
    let outcomes: Vec<_> = entries.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(
        outcomes,
        [
            "version 2: browser_days 30→7",
            "version 3 from preset low-friction: number_matching OFF→WHEN_RISKY, \
             challenge_ttl 60s→120s, codes.fallback_after 30s→15s, browser_days 7→90",
        ]
    );

    // However much changes at once, it fits.
    let mut all = get(&broker, &tenant.id).await;
    let sms = all.sms.as_mut().unwrap();
    let countries: Vec<_> = countries().collect();
    let (first, second) = countries.split_at(125);
    for list in [first, second] {
        sms.countries = list.to_vec();
        let request = v1::UpdatePolicyRequest {
            tenant_id: tenant.id.clone(),
            policy: Some(TenantPolicy {
                sms: Some(sms.clone()),
                ..TenantPolicy::default()
            }),
            ..v1::UpdatePolicyRequest::default()
        };
        let changed = update(&broker, request).await.unwrap();
        assert_eq!(changed.sms.unwrap().countries, list);
    }
}

/// All 250.
fn countries() -> impl Iterator<Item = String> {
    let letters = || b'A'..=b'Z';
    let pairs = letters().flat_map(move |a| letters().map(move |b| [a, b]));
    pairs
        .map(|pair| String::from_utf8(pair.to_vec()).unwrap())
        .filter(|code| countersign_server::domain::policy::is_country(code))
}
