//! What belongs to others can't be told from what does not exist.

use countersign_proto::v1;
use countersign_tests::{
    reason,
    rpcs::{allowed, foreign},
    two_tenants::{TwoTenants, unknown_id},
    wire::{Wire, bearer, frame},
};
use prost::Message as _;
use tonic::{Code, Status};

use super::{rpcs, told};

/// What belongs to others can't be told from what does not exist.
#[tokio::test]
async fn foreign_objects_do_not_exist() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    let mut compared = 0;
    for (path, caller) in rpcs(&world).await {
        let mut first: Option<Status> = None;
        for message in foreign(&world, &path) {
            let headers = allowed(&world, caller, &path, &message);
            let status = wire.call(&path, &headers, frame(&message)).await.refused();
            assert_eq!(status.code(), Code::NotFound, "{path}: {status:?}");
            assert_eq!(reason(&status), "NOT_FOUND", "{path}");
            match &first {
                None => first = Some(status),
                Some(missing) => {
                    compared += 1;
                    assert_eq!(told(&status), told(missing), "{path}");
                    assert_eq!(status.details(), missing.details(), "{path}");
                }
            }
        }
        assert_eq!(world.everything().await, before, "{path}");
    }
    assert!(compared >= 20, "{compared}");

    // Users of the same name are different people, and a list of nobody's
    // devices is like that of a user who has none.
    let own = world.broker.authenticators(&world.own.tenant, "tom").await;
    let ids: Vec<_> = own
        .iter()
        .map(|one| one.authenticator_id.as_str())
        .collect();
    assert_eq!(
        ids,
        [world.own.phone.device_id(), world.own.second.device_id()]
    );
    // A tenant's admin sees one tenant.
    let wire_answer = wire
        .call(
            "/countersign.v1.AdminService/ListTenants",
            &bearer(&world.own.admin.0),
            frame(&[]),
        )
        .await;
    let list = v1::ListTenantsResponse::decode(wire_answer.message()).unwrap();
    let ids: Vec<_> = list.tenants.iter().map(|one| &one.tenant_id).collect();
    assert_eq!(ids, [&world.own.tenant.id]);
    // The same request_id in two tenants is two requests.
    let request = countersign_tests::sign_in("ann");
    let mut made = Vec::new();
    for org in [&world.own, &world.foreign] {
        let mut approvals = world.broker.approvals(&org.tenant);
        let answer = approvals.create_challenge(request.clone()).await.unwrap();
        made.push(answer.into_inner().challenge.unwrap().challenge_id);
    }
    assert_ne!(made[0], made[1]);
}

/// A device of the same user that was registered after the challenge was made
/// was not asked, and can't tell the challenge from one that does not exist.
#[tokio::test]
async fn a_device_that_was_not_asked() {
    let world = TwoTenants::start().await;
    let late = world.broker.phone(&world.own.tenant, "tom").await;
    let before = world.everything().await;
    let mut told_of_it = Vec::new();
    for challenge_id in [unknown_id(), world.own.challenge.challenge_id.clone()] {
        let seen = late.acknowledge(&challenge_id).await.unwrap_err();
        let body = v1::ResponseBody {
            challenge_id,
            device_id: late.device_id().into(),
            ..world.own.approval()
        };
        let response = late.sign_response(&body).unwrap();
        let answered = late.send_response(response).await.unwrap_err();
        for error in [seen, answered] {
            told_of_it.push(told(error.status().unwrap()));
        }
    }
    for one in &told_of_it {
        assert_eq!((one.0, one.1.as_str()), (Code::NotFound, "NOT_FOUND"));
        assert_eq!(one, &told_of_it[0]);
    }
    assert!(late.list_pending().await.unwrap().challenges.is_empty());
    assert_eq!(world.everything().await, before);
}
