//! Registering phones: the rules of tickets, and what becomes of devices.

use std::time::Duration;

use countersign_proto::v1::{
    self, ChallengeState as S, Decision, DecisionReason as R, EnrollmentState as E, KeyAlgorithm,
};
use countersign_tests::{Tenant, TestBroker, end, field, in_time, reason, two_tenants::push};
use device_sim::phone::{EnrollOptions, Phone, PhoneError, PhoneEvent, Ticket};
use tonic::Code;

/// How a phone would introduce itself with a code that was typed.
fn typed(broker: &TestBroker, code: &str) -> EnrollOptions {
    let mut options = EnrollOptions::new(Ticket::Code {
        broker: broker.address(),
        code: code.into(),
    });
    options.now = broker.phone_clock();
    options
}

async fn enroll(broker: &TestBroker, code: &str) -> Result<Phone, PhoneError> {
    Phone::enroll(typed(broker, code)).await
}

/// No ticket is opened by this code, and nothing says why.
#[track_caller]
fn refused(result: Result<Phone, PhoneError>) {
    let error = result.unwrap_err();
    let status = error.status().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason(status), "TICKET_REFUSED");
    assert_eq!(status.message(), "no ticket is opened by this code");
}

/// Where a ticket stands.
async fn stands(broker: &TestBroker, tenant: &Tenant, ticket: &v1::CreateEnrollmentResponse) -> E {
    wait(broker, tenant, &ticket.enrollment_id, 0).await.state()
}

async fn wait(
    broker: &TestBroker,
    tenant: &Tenant,
    id: &str,
    seconds: i64,
) -> v1::WaitEnrollmentResponse {
    let request = v1::WaitEnrollmentRequest {
        enrollment_id: id.into(),
        timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let mut enrollments = broker.enrollments(tenant);
    let waited = in_time(enrollments.wait_enrollment(request)).await;
    waited.unwrap().into_inner()
}

/// The code with other secret characters, so that it finds the ticket and does
/// not open it.
fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..code.len() - 1])
}

#[tokio::test]
async fn a_ticket_is_good_once_and_for_ten_minutes() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let ticket = broker.ticket(&tenant, "tom").await;
    let now = i64::try_from(countersign_tests::START_MS / 1000).unwrap();
    assert_eq!(ticket.expire_time.unwrap().seconds, now + 600);
    assert!(ticket.qr_svg.contains("<svg"));
    broker.pass(Duration::from_millis(599_999));
    assert_eq!(stands(&broker, &tenant, &ticket).await, E::Open);
    let phone = enroll(&broker, &ticket.manual_code).await.unwrap();
    assert_eq!(
        (phone.user_id(), phone.organisation()),
        ("tom", "Eagle IT BVBA")
    );
    assert_eq!(stands(&broker, &tenant, &ticket).await, E::Redeemed);
    refused(enroll(&broker, &ticket.manual_code).await);

    let late = broker.ticket(&tenant, "ann").await;
    broker.pass(Duration::from_secs(600));
    assert_eq!(stands(&broker, &tenant, &late).await, E::Expired);
    refused(enroll(&broker, &late.manual_code).await);
    assert!(broker.authenticators(&tenant, "ann").await.is_empty());
    assert_eq!(broker.authenticators(&tenant, "tom").await.len(), 1);
}

#[tokio::test]
async fn five_wrong_tries_and_a_replaced_ticket() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let ticket = broker.ticket(&tenant, "tom").await;
    let other = broker.ticket(&tenant, "ann").await;
    for _ in 0..4 {
        refused(enroll(&broker, &wrong(&ticket.manual_code)).await);
    }
    assert_eq!(stands(&broker, &tenant, &ticket).await, E::Open);
    // A code that is no code at all, or finds nothing, counts against nobody.
    for code in [
        "",
        "tom",
        "0000-0000-0000-0000-0000",
        "ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZ",
    ] {
        refused(enroll(&broker, code).await);
    }
    assert_eq!(stands(&broker, &tenant, &ticket).await, E::Open);
    refused(enroll(&broker, &wrong(&ticket.manual_code)).await);
    assert_eq!(stands(&broker, &tenant, &ticket).await, E::Locked);
    refused(enroll(&broker, &ticket.manual_code).await);
    assert_eq!(stands(&broker, &tenant, &other).await, E::Open);

    // After four tries the right code is still good, on the next ticket too.
    let again = broker.ticket(&tenant, "tom").await;
    for _ in 0..4 {
        refused(enroll(&broker, &wrong(&again.manual_code)).await);
    }
    let newer = broker.ticket(&tenant, "tom").await;
    assert_eq!(stands(&broker, &tenant, &again).await, E::Replaced);
    refused(enroll(&broker, &again.manual_code).await);
    for _ in 0..4 {
        refused(enroll(&broker, &wrong(&newer.manual_code)).await);
    }
    enroll(&broker, &newer.manual_code).await.unwrap();
    assert_eq!(broker.authenticators(&tenant, "tom").await.len(), 1);
}

#[tokio::test]
async fn typing_errors_are_forgiven() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let lax: [fn(&str) -> String; 6] = [
        |code| code.to_lowercase(),
        |code| code.replace('-', ""),
        |code| code.replace('-', " "),
        |code| format!("  {code} "),
        |code| code.replace('0', "O").replace('1', "I"),
        |code| code.to_lowercase().replace('0', "o").replace('1', "l"),
    ];
    for (number, lax) in lax.into_iter().enumerate() {
        let user = format!("user {number}");
        // Until there is something to mistype.
        let code = loop {
            let code = broker.ticket(&tenant, &user).await.manual_code;
            if code.contains('0') && code.contains('1') {
                break code;
            }
        };
        let groups: Vec<_> = code.split('-').collect();
        assert!(groups.iter().all(|group| group.len() == 4), "{code}");
        enroll(&broker, &lax(&code)).await.unwrap();
        assert_eq!(broker.authenticators(&tenant, &user).await.len(), 1);
    }
}

/// Eight phones with the same ticket at the same moment: one of them is
/// registered, whoever it is.
#[tokio::test(flavor = "multi_thread")]
async fn one_ticket_eight_phones() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    for round in 0..10 {
        let user = format!("user {round}");
        let ticket = broker.ticket(&tenant, &user).await;
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..8 {
            tries.spawn(Phone::enroll(typed(&broker, &ticket.manual_code)));
        }
        let mut registered = Vec::new();
        for result in tries.join_all().await {
            match result {
                Ok(phone) => registered.push(phone.device_id().to_owned()),
                Err(error) => refused(Err(error)),
            }
        }
        assert_eq!(registered.len(), 1, "{registered:?}");
        let listed = broker.authenticators(&tenant, &user).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].authenticator_id, registered[0]);
    }
}

/// The page moves on by itself, whichever way the ticket ends.
#[tokio::test]
async fn the_page_is_told() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let redeemed = broker.ticket(&tenant, "tom").await;
    let told = async |id: &str| wait(&broker, &tenant, id, 300).await;
    let (said, phone) = tokio::join!(
        told(&redeemed.enrollment_id),
        enroll(&broker, &redeemed.manual_code)
    );
    assert_eq!(said.state(), E::Redeemed);
    let device = said.authenticator.unwrap();
    assert_eq!(device.authenticator_id, phone.unwrap().device_id());

    let replaced = broker.ticket(&tenant, "tom").await;
    let (said, newer) = tokio::join!(told(&replaced.enrollment_id), broker.ticket(&tenant, "tom"));
    assert_eq!((said.state(), said.authenticator), (E::Replaced, None));

    let guess = async || {
        for _ in 0..5 {
            refused(enroll(&broker, &wrong(&newer.manual_code)).await);
        }
    };
    let (said, ()) = tokio::join!(told(&newer.enrollment_id), guess());
    assert_eq!(said.state(), E::Locked);

    let late = broker.ticket(&tenant, "tom").await;
    let turn = async || broker.pass(Duration::from_secs(600));
    let (said, ()) = tokio::join!(wait(&broker, &tenant, &late.enrollment_id, 300), turn());
    // Whichever comes first: the end of the wait or that of the ticket.
    assert_eq!(said.state(), E::Expired);

    let open = broker.ticket(&tenant, "tom").await;
    assert_eq!(
        wait(&broker, &tenant, &open.enrollment_id, 0).await.state(),
        E::Open
    );
}

#[tokio::test]
async fn both_algorithms_and_ten_devices() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let mut phones = Vec::new();
    for number in 0..10 {
        let mut options = broker.options(&tenant, "tom").await;
        options.algorithm = [KeyAlgorithm::Ed25519, KeyAlgorithm::P256][number % 2];
        options.display_name = format!("phone {number}");
        phones.push(Phone::enroll(options).await.unwrap());
        // Ids made at the same moment are in no order.
        broker.pass(Duration::from_millis(1));
    }
    for (number, phone) in phones.iter().enumerate().take(2) {
        broker.ask(&tenant, "tom").await;
        let shown = phone.list_pending().await.unwrap().challenges.remove(0);
        let told = phone.respond(&shown, Decision::Approve, "").await.unwrap();
        assert_eq!(told.state(), S::Approved, "phone {number}");
    }
    let listed = broker.authenticators(&tenant, "tom").await;
    let names: Vec<_> = listed
        .iter()
        .map(|one| match one.kind.as_ref().unwrap() {
            v1::authenticator::Kind::Device(device) => {
                (device.display_name.clone(), device.key_algorithm())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let wanted: Vec<_> = (0..10)
        .map(|n| {
            (
                format!("phone {n}"),
                [KeyAlgorithm::Ed25519, KeyAlgorithm::P256][n % 2],
            )
        })
        .collect();
    assert_eq!(names, wanted);

    // The eleventh is refused and its ticket is none the worse for it.
    let ticket = broker.ticket(&tenant, "tom").await;
    let error = enroll(&broker, &ticket.manual_code).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition));
    assert_eq!(error.reason().as_deref(), Some("TOO_MANY_DEVICES"));
    assert_eq!(broker.authenticators(&tenant, "tom").await, listed);
    assert_eq!(stands(&broker, &tenant, &ticket).await, E::Open);
    phones[0].unenroll().await.unwrap();
    enroll(&broker, &ticket.manual_code).await.unwrap();
    assert_eq!(broker.authenticators(&tenant, "tom").await.len(), 10);
}

/// Tickets and devices of one organisation are nothing to another.
#[tokio::test]
async fn two_organisations() {
    let broker = TestBroker::start().await;
    let (own, other) = (broker.tenant().await, broker.tenant().await);
    let ticket = broker.ticket(&own, "tom").await;
    let foreign = broker.ticket(&other, "tom").await;
    // The same user name elsewhere replaces nothing.
    assert_eq!(stands(&broker, &own, &ticket).await, E::Open);
    let phone = enroll(&broker, &ticket.manual_code).await.unwrap();
    assert_eq!(phone.tenant_id(), own.id);
    assert_eq!(stands(&broker, &other, &foreign).await, E::Open);
    assert!(broker.authenticators(&other, "tom").await.is_empty());
    let request = v1::WaitEnrollmentRequest {
        enrollment_id: ticket.enrollment_id,
        timeout: None,
    };
    let refused = broker.enrollments(&other).wait_enrollment(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

/// A phone's own registration must be right before its ticket is touched.
#[tokio::test]
async fn a_malformed_registration_costs_nothing() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let ticket = broker.ticket(&tenant, "tom").await;
    for _ in 0..6 {
        let mut options = typed(&broker, &wrong(&ticket.manual_code));
        options.language = "not a language".into();
        let error = Phone::enroll(options).await.unwrap_err();
        assert_eq!(field(error.status().unwrap()), "body.language");
    }
    enroll(&broker, &ticket.manual_code).await.unwrap();
}

#[tokio::test]
async fn removing_a_device() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    for by_itself in [true, false] {
        let stays = broker.phone(&tenant, "tom").await;
        let goes = broker.phone(&tenant, "tom").await;
        let mut stream = goes.subscribe().await.unwrap();
        assert!(matches!(
            stream.next().await.unwrap(),
            Some(PhoneEvent::CaughtUp { .. })
        ));
        let asked = broker.ask(&tenant, "tom").await;
        let Some(PhoneEvent::Challenge(shown)) = stream.next().await.unwrap() else {
            panic!("no challenge on the stream");
        };
        if by_itself {
            goes.unenroll().await.unwrap();
        } else {
            let request = v1::RemoveAuthenticatorRequest {
                user_id: "tom".into(),
                authenticator_id: goes.device_id().into(),
            };
            let mut enrollments = broker.enrollments(&tenant);
            enrollments
                .remove_authenticator(request.clone())
                .await
                .unwrap();
            let again = enrollments.remove_authenticator(request).await.unwrap_err();
            assert_eq!(again.code(), Code::NotFound);
        }
        // Its stream ends, and no call of its is taken any more.
        assert!(in_time(stream.next()).await.unwrap().is_none());
        for error in [
            goes.list_pending().await.unwrap_err(),
            goes.subscribe().await.unwrap_err(),
            goes.unenroll().await.unwrap_err(),
            goes.respond(&shown, Decision::Approve, "")
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.code(), Some(Code::Unauthenticated));
        }
        // The other one can still answer.
        let pending = broker.get(&tenant, &asked.challenge_id).await;
        assert_eq!(pending.state(), S::Pending);
        let shown = stays.list_pending().await.unwrap().challenges.remove(0);
        stays.respond(&shown, Decision::Deny, "").await.unwrap();
        let ended = broker.decided(&tenant, &asked.challenge_id).await;
        assert_eq!(end(&ended), (S::Denied, R::UserDenied));
        assert_eq!(broker.authenticators(&tenant, "tom").await.len(), 1);
        stays.unenroll().await.unwrap();
    }
    // With the last one goes what only it could have answered.
    let last = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    last.unenroll().await.unwrap();
    let ended = broker.decided(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&ended), (S::Denied, R::Unreachable));
    assert!(broker.authenticators(&tenant, "tom").await.is_empty());
}

#[tokio::test]
async fn replacing_the_push_token() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let has_token = async |broker: &TestBroker| {
        let listed = broker.authenticators(&tenant, "tom").await;
        let Some(v1::authenticator::Kind::Device(device)) = listed[0].kind.clone() else {
            panic!("{:?}", listed[0]);
        };
        device.has_push_token
    };
    assert!(!has_token(&broker).await);
    phone.update_push_token(Some(push())).await.unwrap();
    assert!(has_token(&broker).await);
    let asked = broker.ask(&tenant, "tom").await;
    assert_eq!(asked.deliveries[0].gateway(), v1::Gateway::Fcm);
    broker.restart().await;
    assert!(has_token(&broker).await);
    let phone = broker.moved(&phone);
    phone.update_push_token(None).await.unwrap();
    assert!(!has_token(&broker).await);
    let asked = broker.ask(&tenant, "tom").await;
    assert_eq!(asked.deliveries[0].gateway(), v1::Gateway::Subscribe);
}
