//! Approvals taken back, notices, and pushes to devices that are gone.

use super::{
    super::super::keys,
    samples::{
        AT, CHALLENGE, DEVICE, LATER, PUSH, Sample, TENANT, ed25519, proof, record, registered, tom,
    },
};
use crate::domain::{
    device::PushGateway,
    notice::{Kept, Notices},
    push::{PushJob, PushKind},
    revocation::{RecentApprovals, Revocation},
    text::Notice,
};
use crate::store::engine::Key;

pub(super) fn event_samples() -> Vec<Sample> {
    let revocation = Revocation {
        time: LATER,
        proof: proof(ed25519()),
    };
    let approvals = RecentApprovals(vec![(CHALLENGE, AT), (CHALLENGE, LATER)]);
    let kept = |number, notice, about| Kept {
        number,
        id: [0x17; 16],
        notice,
        time: AT,
        about,
    };
    let notices = Notices {
        last: 301,
        kept: vec![
            kept(300, Notice::DeviceAdded("Tom's phone".into()), Some(DEVICE)),
            kept(301, Notice::AccountUnlocked, None),
        ],
    };
    let farewell = PushJob {
        id: PUSH,
        gateway: PushGateway::Apns,
        due: AT,
        kind: PushKind::Notice,
        tenant: TENANT,
        challenge: CHALLENGE,
        device: DEVICE,
        attempts: 0,
        perhaps_sent: false,
        expire_time: LATER,
        farewell: Some(registered(PushGateway::Apns)),
    };
    vec![
        record("revocation", revocation),
        record("recent-approvals", approvals),
        record("notices", notices),
        record("push-farewell", farewell),
    ]
}

pub(super) fn key_samples() -> Vec<(&'static str, Key)> {
    vec![
        ("event", keys::event(TENANT, 1, 300)),
        ("events", keys::events(TENANT, 1, 300)),
        ("revocation", keys::revocation(TENANT, CHALLENGE)),
        ("reported-late", keys::reported_late(TENANT, CHALLENGE)),
        ("approvals-of", keys::approvals_of(TENANT, &tom())),
        ("notices-of", keys::notices_of(TENANT, &tom())),
    ]
}
