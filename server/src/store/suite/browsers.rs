//! Remembered browsers.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{AccountChange, LockReason},
        browser::{Claim, MAX_BROWSERS_PER_USER},
        challenge::{Challenge, Event, Final, Method, Reason},
        device::{Device, PushGateway},
        ids::{BrowserId, TenantId, UserId},
        policy::{PendingLimit, Policy},
        response::Choice,
        risk::{Origin, Risk},
        tenant::Tenant,
        time::Timestamp,
    },
    store::{AccountChanged, Created, NewChallenge, Removed, Replaced, Store},
};

/// Tom with a phone, in an organisation with the default rules.
struct Scene {
    store: Arc<dyn Store>,
    tenant: TenantId,
    tom: UserId,
    phone: Device,
}

async fn scene(place: &dyn Place) -> Scene {
    let (store, tenant, tom) = (place.open().await, tenant_id(), user("tom"));
    let organisation = Tenant {
        id: tenant,
        display_name: "Eagle IT BVBA".into(),
        policy: Policy::default(),
        create_time: START,
    };
    store.add_tenant(organisation, by()).await.unwrap();
    let phone = enrolled(&store, tenant, &tom, Some(PushGateway::Apns)).await;
    Scene {
        store,
        tenant,
        tom,
        phone,
    }
}

impl Scene {
    fn question(&self, now: Timestamp) -> NewChallenge {
        question(
            self.tenant,
            &self.tom,
            std::slice::from_ref(&self.phone),
            now,
        )
    }

    /// Asks Tom, who answers at once.
    async fn asked(&self, remember: bool, choice: Choice, now: Timestamp) -> Challenge {
        let mut new = self.question(now);
        new.challenge.remembering.wanted = remember;
        let asked = created(self.store.create(new).await.unwrap());
        decide(&self.store, &asked, answer(&self.phone, choice), now).await;
        stored(&self.store, &asked).await
    }

    /// Has a browser remembered.
    async fn remembered(&self, now: Timestamp) -> Claim {
        let approved = self.asked(true, Choice::Approve, now).await;
        given(&approved).expect("remembered")
    }

    /// A sign-in with a token.
    async fn present(&self, claim: Claim, now: Timestamp) -> Challenge {
        let mut new = self.question(now);
        new.browser = Some(claim);
        created(self.store.create(new).await.unwrap())
    }

    /// Whether a token still counts. It is used up by this.
    async fn counts(&self, claim: Claim, now: Timestamp) -> bool {
        is_remembered(&self.present(claim, now).await)
    }

    async fn change(&self, change: AccountChange, now: Timestamp) {
        let (tenant, tom) = (self.tenant, self.tom.clone());
        let changed = self
            .store
            .change_account(tenant, tom, change, now, RECEIPT_KEY.into(), by());
        let changed = changed.await.unwrap();
        assert!(
            matches!(changed, AccountChanged::Done { .. }),
            "{changed:?}"
        );
    }
}

/// The token that a challenge gives out.
fn given(challenge: &Challenge) -> Option<Claim> {
    Some(Claim {
        browser: challenge.remembering.browser?,
        issued_by: challenge.id,
    })
}

fn is_remembered(challenge: &Challenge) -> bool {
    let Some(outcome) = &challenge.outcome else {
        return false;
    };
    let end = (outcome.state, outcome.reason);
    let remembered = end == (Final::Approved, Reason::RememberedBrowser);
    assert_eq!(remembered, outcome.state == Final::Approved);
    assert_eq!(remembered, challenge.method == Method::RememberedBrowser);
    remembered
}

pub(in crate::store) async fn a_browser_is_remembered_only_by_a_wanted_approval(place: &dyn Place) {
    let it = scene(place).await;
    let unwanted = it.asked(false, Choice::Approve, second(2)).await;
    assert_eq!(given(&unwanted), None);
    for (n, choice) in [(3, Choice::Deny), (4, Choice::ReportFraud)] {
        let denied = it.asked(true, choice, second(n)).await;
        assert_eq!(given(&denied), None);
        // Nor can it be claimed.
        let claim = Claim {
            browser: BrowserId::from_bytes(*denied.id.as_bytes()),
            issued_by: denied.id,
        };
        assert!(!it.counts(claim, second(n)).await);
    }
    // Else there were too many prompts.
    it.asked(false, Choice::Approve, second(5)).await;
    let mut new = it.question(second(5));
    new.challenge.remembering.wanted = true;
    let cancelled = created(it.store.create(new).await.unwrap());
    decide(&it.store, &cancelled, Event::Cancel, second(5)).await;
    assert_eq!(given(&stored(&it.store, &cancelled).await), None);
    let never = Policy {
        browser_days: 0,
        ..Policy::default()
    };
    let changed = it
        .store
        .replace_policy(it.tenant, 1, never, String::new(), second(6), by());
    assert!(matches!(changed.await.unwrap(), Replaced::Done(_)));
    let approved = it.asked(true, Choice::Approve, second(7)).await;
    assert_eq!(given(&approved), None);
}

pub(in crate::store) async fn of_many_uses_of_a_token_one_approves(place: &dyn Place) {
    let it = scene(place).await;
    let claim = it.remembered(second(2)).await;
    let mut tries = JoinSet::new();
    for _ in 0..24 {
        let mut new = it.question(second(3));
        new.browser = Some(claim);
        let store = it.store.clone();
        tries.spawn(async move { store.create(new).await.unwrap() });
    }
    let (mut approved, mut asked) = (0, 0);
    while let Some(done) = tries.join_next().await {
        match done.unwrap() {
            Created::New { challenge, .. } if is_remembered(&challenge) => approved += 1,
            Created::New { challenge, .. } => {
                assert_eq!(challenge.outcome, None);
                asked += 1;
            }
            Created::Refused(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(approved, 1);
    assert!(asked > 0);
}

pub(in crate::store) async fn each_use_gives_the_next_token(place: &dyn Place) {
    let it = scene(place).await;
    let mut claim = it.remembered(second(2)).await;
    let first = claim.browser;
    for n in 3..30 {
        let used = it.present(claim, second(n)).await;
        assert!(is_remembered(&used), "{n}");
        assert_eq!((used.number.as_str(), used.deliveries.len()), ("", 0));
        assert_eq!(stored(&it.store, &used).await, used);
        claim = given(&used).unwrap();
        assert_eq!((claim.browser, claim.issued_by), (first, used.id));
    }
    let jobs = it.store.claim_pushes(PushGateway::Apns, second(60), 100);
    assert_eq!(jobs.await.unwrap().len(), 1, "only the first was asked");
    // The same in another process.
    it.store.close().await.unwrap();
    drop(it.store);
    let store = place.open().await;
    let kept = store.browser(it.tenant, &it.tom, first).await.unwrap();
    assert_eq!(kept.unwrap().issued_by, claim.issued_by);
    let it = Scene { store, ..it };
    assert!(it.counts(claim, second(31)).await);
}

pub(in crate::store) async fn a_used_token_ends_its_browser(place: &dyn Place) {
    let it = scene(place).await;
    let stolen = it.remembered(second(2)).await;
    let other = it.remembered(second(3)).await;
    let used = it.present(stolen, second(4)).await;
    let next = given(&used).unwrap();
    assert!(!it.counts(stolen, second(5)).await);
    // Neither does the one that whoever was first has been given.
    assert!(!it.counts(next, second(6)).await);
    assert!(
        it.counts(other, second(7)).await,
        "the user's other browser"
    );
}

pub(in crate::store) async fn what_takes_trust_away_forgets_browsers(place: &dyn Place) {
    let mut it = scene(place).await;
    let forgotten = it
        .store
        .forget_browsers(it.tenant, it.tom.clone(), second(2), by());
    assert_eq!(forgotten.await.unwrap(), 0);
    for way in 0..6 {
        let now = second(100 * (way + 1));
        let claims = [it.remembered(now).await, it.remembered(now).await];
        let then = now.after(Duration::from_secs(1));
        match way {
            0 => {
                let forgotten = it
                    .store
                    .forget_browsers(it.tenant, it.tom.clone(), then, by());
                assert_eq!(forgotten.await.unwrap(), 2);
            }
            1 => {
                it.asked(false, Choice::ReportFraud, then).await;
            }
            2 => {
                it.change(AccountChange::Lock(LockReason::Operator), then)
                    .await;
                it.change(AccountChange::Unlock, then).await;
            }
            3 => it.change(AccountChange::Reset, then).await,
            4 => {
                let other = enrolled(&it.store, it.tenant, &it.tom, None).await;
                let (tenant, tom) = (it.tenant, it.tom.clone());
                let removed =
                    it.store
                        .remove_device(tenant, tom, other.id, then, RECEIPT_KEY.into(), by());
                assert!(matches!(removed.await.unwrap(), Removed::Done { .. }));
            }
            // Nothing happened: else the others would prove nothing.
            _ => {
                assert!(it.counts(claims[0], then).await);
                assert!(it.counts(claims[1], then).await);
                return;
            }
        }
        for claim in claims {
            let kept = it.store.browser(it.tenant, &it.tom, claim.browser);
            assert_eq!(kept.await.unwrap(), None, "{way}");
        }
        if way == 3 {
            it.phone = enrolled(&it.store, it.tenant, &it.tom, None).await;
        }
        assert!(!it.counts(claims[0], then).await, "{way}");
    }
}

pub(in crate::store) async fn other_rules_and_time_end_it(place: &dyn Place) {
    let it = scene(place).await;
    let days = Duration::from_secs(30 * 86_400);
    let (early, late) = (
        it.remembered(second(2)).await,
        it.remembered(second(2)).await,
    );
    let end = second(2).after(days);
    let last = end.before(Duration::from_millis(1));
    let used = it.present(early, last).await;
    assert!(is_remembered(&used));
    // Use does not put the end off.
    assert!(!it.counts(given(&used).unwrap(), end).await);
    assert!(!it.counts(late, end).await);

    let claim = it.remembered(end).await;
    let other = Policy {
        language: "nl".into(),
        ..Policy::default()
    };
    let changed = it
        .store
        .replace_policy(it.tenant, 1, other, String::new(), end, by());
    assert!(matches!(changed.await.unwrap(), Replaced::Done(_)));
    assert!(!it.counts(claim, end).await);
    let claim = it.remembered(end).await;
    assert!(it.counts(claim, end).await);
}

pub(in crate::store) async fn a_browser_is_its_users(place: &dyn Place) {
    let it = scene(place).await;
    let claim = it.remembered(second(2)).await;
    let ann = user("ann");
    let elsewhere = tenant_id();
    for (tenant, who) in [(it.tenant, &ann), (elsewhere, &it.tom)] {
        let phone = enrolled(&it.store, tenant, who, None).await;
        let mut new = question(tenant, who, &[phone], second(3));
        new.browser = Some(claim);
        let asked = created(it.store.create(new).await.unwrap());
        assert_eq!(asked.outcome, None);
        let forgotten = it
            .store
            .forget_browsers(tenant, who.clone(), second(3), by());
        assert_eq!(forgotten.await.unwrap(), 0);
    }
    assert!(it.counts(claim, second(4)).await);
}

pub(in crate::store) async fn a_locked_account_has_no_browsers(place: &dyn Place) {
    let it = scene(place).await;
    let claim = it.remembered(second(2)).await;
    it.change(AccountChange::Lock(LockReason::Operator), second(3))
        .await;
    let refused = it.present(claim, second(4)).await;
    let outcome = refused.outcome.unwrap();
    let end = (outcome.state, outcome.reason);
    assert_eq!(end, (Final::Denied, Reason::LockedOut));
}

/// Prompts that somebody else has asked for go on, and no budget keeps the user
/// out.
pub(in crate::store) async fn nobody_is_asked_and_nothing_else_ends(place: &dyn Place) {
    let it = scene(place).await;
    let mut claim = it.remembered(second(2)).await;
    let mut pending = None;
    for n in 3..20 {
        match it.store.create(it.question(second(n))).await.unwrap() {
            Created::New { challenge, .. } => pending = Some(*challenge),
            Created::Refused(_) => break,
            other => panic!("{other:?}"),
        }
    }
    let pending = pending.unwrap();
    let before = account(&it.store, it.tenant, &it.tom).await;
    for limit in [PendingLimit::Supersede, PendingLimit::Reject] {
        let mut new = it.question(second(20));
        new.browser = Some(claim);
        new.pending_limit = limit;
        new.challenge.risks = vec![Risk::UnknownBrowser];
        let Created::New {
            challenge,
            superseded,
            ..
        } = it.store.create(new).await.unwrap()
        else {
            panic!("refused");
        };
        assert!(is_remembered(&challenge));
        assert_eq!((superseded, &challenge.risks), (Vec::new(), &Vec::new()));
        claim = given(&challenge).unwrap();
    }
    let open = open_ids(&it.store, it.tenant, &it.tom, second(20)).await;
    assert_eq!(open, [pending.id].into());
    let after = account(&it.store, it.tenant, &it.tom).await;
    assert_eq!(after, before);
    // Nor does it matter that the user's phones are gone from sight.
    let mut new = question(it.tenant, &it.tom, &[], second(21));
    new.browser = Some(claim);
    new.challenge.end_unreachable(second(21), RECEIPT_KEY);
    assert!(is_remembered(&created(it.store.create(new).await.unwrap())));
}

pub(in crate::store) async fn the_oldest_browser_leaves(place: &dyn Place) {
    let it = scene(place).await;
    let mut claims = Vec::new();
    for n in 0..=MAX_BROWSERS_PER_USER {
        let now = second(2 + u64::try_from(n).unwrap());
        claims.push(it.remembered(now).await);
    }
    let now = second(60);
    assert!(!it.counts(claims[0], now).await);
    let (first, last) = (claims[1], claims[MAX_BROWSERS_PER_USER]);
    assert!(it.counts(first, now).await);
    assert!(it.counts(last, now).await);
    let forgotten = it
        .store
        .forget_browsers(it.tenant, it.tom.clone(), now, by());
    assert_eq!(forgotten.await.unwrap(), MAX_BROWSERS_PER_USER);
}

pub(in crate::store) async fn approvals_teach_where_the_user_is(place: &dyn Place) {
    let it = scene(place).await;
    let at = |n: u8| Origin {
        network: Some([n; 16]),
        place: None,
    };
    for (n, choice) in [(1, Choice::Deny), (2, Choice::Approve)] {
        let mut new = it.question(second(n.into()));
        new.challenge.origin = at(n);
        let asked = created(it.store.create(new).await.unwrap());
        let now = second(n.into());
        decide(&it.store, &asked, answer(&it.phone, choice), now).await;
    }
    let known = account(&it.store, it.tenant, &it.tom).await;
    assert_eq!(known.origins, [at(2)]);
    assert_eq!(known.last_denial, Some(second(1)));
    // Nobody was asked: a stolen token must not make its thief's network known.
    let claim = it.remembered(second(3)).await;
    let mut new = it.question(second(4));
    new.browser = Some(claim);
    new.challenge.origin = at(3);
    assert!(is_remembered(&created(it.store.create(new).await.unwrap())));
    let known = account(&it.store, it.tenant, &it.tom).await;
    assert_eq!(known.origins, [at(2)]);
}
