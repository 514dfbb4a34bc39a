//! What the trail tells of accounts and codes.

use std::sync::Arc;

use super::{Directory, audit::added};
use crate::{
    domain::{
        account::{AccountChange, LockReason, RecoveryCodes, Totp},
        audit::ACTIONS,
        challenge::{Event, Method},
        code::{Guess, TotpCandidate},
        policy::{Policy, Sms},
    },
    store::{Store, suite::fixture::*},
};

#[tokio::test]
async fn accounts_and_codes_leave_their_entries() {
    let dir = Directory::new();
    let embedded = Arc::new(dir.store());
    let store: Arc<dyn Store> = embedded.clone();
    macro_rules! check {
        ($step:expr => [$($entry:literal),* $(,)?]) => {{
            let (done, new) = added(&embedded, $step).await;
            let wanted: &[&str] = &[$($entry),*];
            assert_eq!(new, wanted);
            for entry in &new {
                let action = entry.split([' ', '(']).nth(1).unwrap();
                assert!(ACTIONS.iter().any(|(known, _)| *known == action), "{action}");
            }
            done
        }};
    }
    let rules = Policy {
        sms: Sms {
            range_alarm: 2,
            ..texting().sms
        },
        ..texting()
    };
    let tenant = organisation(&store, rules).await;
    let tom = user("tom");
    let to = |step, at| change(&store, tenant, &tom, step, second(at));
    let phone = new_phone(second(1));
    let id = phone.id;
    let typed = |code| AccountChange::ConfirmPhone {
        id,
        typed: hash(code),
    };
    check!(to(add_phone(tenant, &tom, phone.clone(), second(1)), 1) => [
        "operator code.sent(tom) CONFIRM +XX XXXXXXX40",
        "operator phone.added(tom) +XX XXXXXXX40",
    ]);
    check!(to(add_phone(tenant, &tom, phone.clone(), second(2)), 2)
        => ["operator code.refused(tom) RESEND_TOO_SOON"]);
    check!(to(typed("000000"), 2) => ["operator code.wrong(tom) CONFIRM"]);
    check!(to(typed("123456"), 2) => ["operator phone.confirmed(tom) +XX XXXXXXX40"]);
    let mut neighbour = new_phone(second(2));
    neighbour.range = phone.range;
    let gone = neighbour.id;
    check!(to(add_phone(tenant, &tom, neighbour, second(2)), 2) => [
        "operator code.sent(tom) CONFIRM +XX XXXXXXX40",
        "broker sms.range_alarm BE",
        "operator phone.added(tom) +XX XXXXXXX40",
    ]);
    check!(to(AccountChange::Remove(gone), 2) => ["operator phone.removed(tom) UNCONFIRMED"]);
    check!(to(AccountChange::Remove(gone), 2) => []);
    let app = authenticator();
    let totp = Totp {
        id: app,
        sealed_secret: vec![1; 48],
        create_time: second(2),
        last_used_time: None,
        confirmed: false,
        wrong: 0,
        last_step: 0,
    };
    check!(to(AccountChange::AddTotp(totp), 2) => ["operator totp.added(tom)"]);
    let shown = |typed| AccountChange::ConfirmTotp {
        id: app,
        typed: hash(typed),
        valid: vec![TotpCandidate {
            authenticator: app,
            step: 7,
            hash: hash("755224"),
        }],
    };
    check!(to(shown("000000"), 2) => ["operator code.wrong(tom) CONFIRM"]);
    check!(to(shown("755224"), 2) => ["operator totp.confirmed(tom)"]);
    check!(to(AccountChange::Remove(app), 2) => ["operator totp.removed(tom)"]);
    let codes = RecoveryCodes {
        id: authenticator(),
        create_time: second(2),
        last_used_time: None,
        unused: vec![hash("a")],
    };
    let set = codes.id;
    check!(to(AccountChange::SetRecoveryCodes(codes), 2)
        => ["operator recovery_codes.created(tom)"]);
    check!(to(AccountChange::Remove(set), 2) => ["operator recovery_codes.removed(tom)"]);

    let devices = [enrolled(&store, tenant, &tom, None).await];
    let asked = ask(&store, tenant, &tom, &devices, second(3)).await;
    let by_text = |at| another_way(&asked, Method::Sms, Some(id), second(at));
    check!(store.go_on(by_text(4)) => [
        "operator challenge.method_changed(tom) SMS",
        "operator code.sent(tom) SMS +XX XXXXXXX40",
    ])
    .unwrap();
    check!(store.go_on(by_text(5)) => ["operator code.refused(tom) RESEND_TOO_SOON"]).unwrap();
    check!(guess(&store, &asked, Guess::Sms(hash("000000")), second(5))
        => ["operator code.wrong(tom) SMS"]);
    check!(guess(&store, &asked, Guess::RecoveryCode(hash("a")), second(5)) => []);
    check!(guess(&store, &asked, Guess::Sms(hash("123456")), second(5)) => [
        "operator code.verified(tom) SMS",
        "operator challenge.decided(tom) APPROVED CODE_VERIFIED",
    ]);
    check!(guess(&store, &asked, Guess::Sms(hash("123456")), second(5)) => []);
    check!(decide(&store, &asked, Event::Cancel, second(5)) => []);

    ask(&store, tenant, &tom, &devices, second(6)).await;
    check!(to(AccountChange::Lock(LockReason::Operator), 7) => [
        "operator account.locked(tom) OPERATOR",
        "operator challenge.decided(tom) DENIED LOCKED_OUT",
    ]);
    check!(store.create(question(tenant, &tom, &devices, second(8)))
        => ["operator challenge.decided(tom) DENIED LOCKED_OUT"])
    .unwrap();
    // A lock on a lock is an operator's word all the same.
    check!(to(AccountChange::Lock(LockReason::Operator), 8)
        => ["operator account.locked(tom) OPERATOR"]);
    // Within the hour a number gets only so many notices.
    check!(to(AccountChange::Unlock, 9) => [
        "operator account.unlocked(tom)",
        "broker notice.refused(tom) NUMBER_CAP",
    ]);
    ask(&store, tenant, &tom, &devices, second(3700)).await;
    check!(to(AccountChange::Reset, 3701) => [
        "operator account.reset(tom)",
        "operator device.removed(tom)",
        "operator challenge.decided(tom) DENIED UNREACHABLE",
    ]);
}
