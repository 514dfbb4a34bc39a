//! What no well-behaved client sends: each gets the error that the contract
//! promises, nothing changes, and the broker goes on.

mod fields;
mod frames;
mod ports;

use countersign_tests::{
    contract::{Contract, Rpc},
    reason,
    two_tenants::TwoTenants,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The rpcs of the package, as the broker tells them by reflection.
async fn rpcs(world: &TwoTenants) -> (Contract, Vec<Rpc>) {
    let contract = Contract::ask(world.broker.channel()).await;
    let rpcs = contract.rpcs.iter();
    let rpcs: Vec<_> = rpcs
        .filter(|rpc| rpc.path.starts_with("/countersign."))
        .cloned()
        .collect();
    assert!(rpcs.len() >= 24, "{rpcs:?}");
    (contract, rpcs)
}

/// Checks that an error is all that the contract promises of one: its reason.
#[track_caller]
fn complete(status: &Status) -> String {
    let reason = reason(status);
    let plain = |c: char| c.is_ascii_uppercase() || c == '_';
    assert!(!reason.is_empty() && reason.chars().all(plain), "{reason}");
    assert!(!status.message().is_empty());
    assert!(!status.message().ends_with('.'), "{}", status.message());
    let details = status.get_error_details();
    match status.code() {
        Code::InvalidArgument => {
            let bad = details
                .bad_request()
                .unwrap_or_else(|| panic!("{status:?}"));
            let [violation] = bad.field_violations.as_slice() else {
                panic!("{status:?}");
            };
            assert!(!violation.description.is_empty(), "{status:?}");
        }
        Code::ResourceExhausted | Code::Unavailable => {
            let retry = details.retry_info().unwrap_or_else(|| panic!("{status:?}"));
            assert!(retry.retry_delay.is_some(), "{status:?}");
        }
        _ => {}
    }
    reason
}
