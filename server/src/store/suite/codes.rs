//! Going on by another way, and codes that are typed.

use tokio::task::JoinSet;

use super::{Place, fixture::*};
use crate::{
    domain::{
        account::{AccountChange, LockReason, RecoveryCodes, Totp},
        challenge::{DeliveryState, Event, Final, GuessVerdict, Method, Reason, Road},
        code::{CodeRefusal, Guess, TotpCandidate},
        device::PushGateway as G,
        ids::AuthenticatorId,
        policy::{Lockout, Policy},
        push::PushKind,
        response::Choice,
        text::TextPurpose,
    },
    store::{Decided, PushResult, TokenVerdict, WentOn},
};

fn right() -> Guess {
    Guess::Sms(hash("123456"))
}

fn wrong() -> Guess {
    Guess::Sms(hash("000000"))
}

pub(in crate::store) async fn of_many_right_codes_one_decides(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    let job = store
        .claim_pushes(G::Fcm, second(2), 1)
        .await
        .unwrap()
        .remove(0);
    let done = super::outbox::delivered();
    store.finish_push(job, done, None, second(2)).await.unwrap();
    texted(&store, &asked, phone, second(3)).await;
    let mut typing = JoinSet::new();
    for _ in 0..64 {
        let (store, asked) = (store.clone(), asked.clone());
        typing.spawn(async move { guess(&store, &asked, right(), second(4)).await });
    }
    let mut verdicts = Vec::new();
    for done in typing.join_all().await {
        let end = done.challenge.outcome.expect("decided");
        assert_eq!(
            (end.state, end.reason),
            (Final::Approved, Reason::CodeVerified)
        );
        assert_eq!((end.authenticator, end.proof), (Some(phone), None));
        verdicts.push(done.verdict);
    }
    let count = |wanted| {
        verdicts
            .iter()
            .filter(|verdict| **verdict == wanted)
            .count()
    };
    assert_eq!(count(GuessVerdict::Right), 1);
    assert_eq!(count(GuessVerdict::AlreadyDecided), 63);
    // The prompt is taken away.
    let left = store.claim_pushes(G::Fcm, second(5), 9).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].kind, PushKind::Withdraw);
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

pub(in crate::store) async fn no_more_codes_are_compared_than_permitted(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let asked = ask(
        &store,
        tenant,
        &tom,
        &[enrolled(&store, tenant, &tom, None).await],
        second(2),
    )
    .await;
    texted(&store, &asked, phone, second(3)).await;
    let mut typing = JoinSet::new();
    for _ in 0..64 {
        let (store, asked) = (store.clone(), asked.clone());
        typing.spawn(async move { guess(&store, &asked, wrong(), second(4)).await.verdict });
    }
    let verdicts = typing.join_all().await;
    let compared = verdicts
        .iter()
        .filter(|verdict| **verdict == GuessVerdict::Wrong);
    assert_eq!(compared.count(), 5);
    assert_eq!(account(&store, tenant, &tom).await.failures, 5);
    let end = outcome(&store, &asked).await;
    assert_eq!(
        (end.state, end.reason),
        (Final::Denied, Reason::TooManyAttempts)
    );
    let late = guess(&store, &asked, right(), second(4)).await;
    assert_eq!(late.verdict, GuessVerdict::AlreadyDecided);
}

pub(in crate::store) async fn a_code_or_an_answer(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    for n in 0..30 {
        let tom = user(&format!("tom{n}"));
        let phone = confirmed(&store, tenant, &tom, second(1)).await;
        let devices = [enrolled(&store, tenant, &tom, None).await];
        let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
        texted(&store, &asked, phone, second(3)).await;
        let typing = {
            let (store, asked) = (store.clone(), asked.clone());
            tokio::spawn(async move { guess(&store, &asked, right(), second(4)).await })
        };
        let answering = {
            let (store, asked) = (store.clone(), asked.clone());
            let event = answer(&devices[0], Choice::Deny);
            tokio::spawn(async move { decide(&store, &asked, event, second(4)).await })
        };
        let (typed, answered) = (typing.await.unwrap(), answering.await.unwrap());
        let end = outcome(&store, &asked).await;
        match (typed.verdict, answered) {
            (GuessVerdict::Right, Decided::Already(told)) => {
                assert_eq!(told.outcome.as_ref(), Some(&end));
                assert_eq!(end.state, Final::Approved);
            }
            (GuessVerdict::AlreadyDecided, Decided::Recorded(told)) => {
                assert_eq!(told.outcome.as_ref(), Some(&end));
                assert_eq!(end.state, Final::Denied);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn totp(id: AuthenticatorId, step: u64) -> (crate::domain::code::CodeHash, Vec<TotpCandidate>) {
    let shown = |step: u64| hash(&format!("step {step}"));
    let valid = (step - 1..=step + 1)
        .map(|step| TotpCandidate {
            authenticator: id,
            step,
            hash: shown(step),
        })
        .collect();
    (shown(step), valid)
}

pub(in crate::store) async fn a_step_of_an_app_is_accepted_once(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let id = authenticator();
    let added = Totp {
        id,
        sealed_secret: vec![1; 48],
        create_time: second(1),
        last_used_time: None,
        confirmed: false,
        wrong: 0,
        last_step: 0,
    };
    change(
        &store,
        tenant,
        &tom,
        AccountChange::AddTotp(added),
        second(1),
    )
    .await;
    let asked = ask(&store, tenant, &tom, &devices, second(1)).await;
    let by_app = |challenge| another_way(challenge, Method::Totp, None, second(2));
    let early = store.go_on(by_app(&asked)).await.unwrap();
    assert_eq!(early, WentOn::Refused(CodeRefusal::NoAuthenticator));
    let (typed, valid) = totp(id, 10);
    let confirm = AccountChange::ConfirmTotp { id, typed, valid };
    change(&store, tenant, &tom, confirm, second(1)).await;

    store.go_on(by_app(&asked)).await.unwrap();
    let type_in = |challenge: &crate::domain::challenge::Challenge, step| {
        let (typed, valid) = totp(id, step);
        let (store, challenge) = (store.clone(), challenge.clone());
        async move { guess(&store, &challenge, Guess::Totp { typed, valid }, second(3)).await }
    };
    // The step that confirmed it does not sign in as well.
    assert_eq!(type_in(&asked, 10).await.verdict, GuessVerdict::Wrong);
    assert_eq!(type_in(&asked, 9).await.verdict, GuessVerdict::Wrong);
    let mut typing = JoinSet::new();
    for _ in 0..64 {
        typing.spawn(type_in(&asked, 11));
    }
    let verdicts = typing.join_all().await;
    let right = verdicts
        .iter()
        .filter(|done| done.verdict == GuessVerdict::Right);
    assert_eq!(right.count(), 1);
    let end = outcome(&store, &asked).await;
    assert_eq!((end.state, end.authenticator), (Final::Approved, Some(id)));

    let next = ask(&store, tenant, &tom, &devices, second(4)).await;
    store.go_on(by_app(&next)).await.unwrap();
    assert_eq!(type_in(&next, 11).await.verdict, GuessVerdict::Wrong);
    assert_eq!(type_in(&next, 12).await.verdict, GuessVerdict::Right);
}

pub(in crate::store) async fn a_recovery_code_is_used_up(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let codes = RecoveryCodes {
        id: authenticator(),
        create_time: second(1),
        last_used_time: None,
        unused: ["a", "b"].map(hash).to_vec(),
    };
    let set = AccountChange::SetRecoveryCodes(codes);
    change(&store, tenant, &tom, set, second(1)).await;
    for (typed, verdict) in [
        ("b", GuessVerdict::Right),
        ("b", GuessVerdict::Wrong),
        ("a", GuessVerdict::Right),
    ] {
        let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
        let wanted = another_way(&asked, Method::RecoveryCode, None, second(2));
        store.go_on(wanted).await.unwrap();
        let typed = Guess::RecoveryCode(hash(typed));
        assert_eq!(
            guess(&store, &asked, typed, second(2)).await.verdict,
            verdict
        );
    }
    let asked = ask(&store, tenant, &tom, &devices, second(3)).await;
    let wanted = another_way(&asked, Method::RecoveryCode, None, second(3));
    let refused = store.go_on(wanted).await.unwrap();
    assert_eq!(refused, WentOn::Refused(CodeRefusal::NoAuthenticator));
}

/// Five wrong codes: the wait that follows holds for the next sign-in too.
pub(in crate::store) async fn waits_go_across_challenges(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    texted(&store, &asked, phone, second(2)).await;
    for _ in 0..5 {
        let done = guess(&store, &asked, wrong(), second(3)).await;
        assert_eq!(done.verdict, GuessVerdict::Wrong);
    }
    let next = ask(&store, tenant, &tom, &devices, second(4)).await;
    let next = texted(&store, &next, phone, second(4)).await;
    let before = account(&store, tenant, &tom).await;
    for _ in 0..9 {
        let done = guess(&store, &next, right(), second(32)).await;
        assert_eq!(done.verdict, GuessVerdict::Wait(second(33)));
        assert_eq!(done.challenge, next);
    }
    assert_eq!(account(&store, tenant, &tom).await, before);
    let done = guess(&store, &next, right(), second(33)).await;
    assert_eq!(done.verdict, GuessVerdict::Right);
    assert_eq!(account(&store, tenant, &tom).await.failures, 0);
}

pub(in crate::store) async fn too_many_failures_lock_the_account(place: &dyn Place) {
    let store = place.open().await;
    let rules = Policy {
        lockout: Lockout {
            lock_after: 7,
            ..Lockout::default()
        },
        ..unwearied()
    };
    let tenant = organisation(&store, rules).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let mut now = second(2);
    let mut asked = ask(&store, tenant, &tom, &devices, now).await;
    texted(&store, &asked, phone, now).await;
    for n in 1..=7 {
        let done = guess(&store, &asked, wrong(), now).await;
        assert_eq!(done.verdict, GuessVerdict::Wrong, "{n}");
        now = now.max(account(&store, tenant, &tom).await.no_guess_before);
        let end = done.challenge.outcome.map(|outcome| outcome.reason);
        match n {
            5 => {
                assert_eq!(end, Some(Reason::TooManyAttempts));
                asked = ask(&store, tenant, &tom, &devices, now).await;
                texted(&store, &asked, phone, now).await;
            }
            7 => assert_eq!(end, Some(Reason::LockedOut)),
            _ => assert_eq!(end, None),
        }
    }
    let lock = account(&store, tenant, &tom).await.lock.expect("locked");
    assert_eq!(lock.reason, LockReason::TooManyFailures);
    let next = ask(&store, tenant, &tom, &devices, now).await;
    assert_eq!(outcome(&store, &next).await.reason, Reason::LockedOut);
}

pub(in crate::store) async fn silence_turns_into_a_text(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, None).await];
    texts(&store, second(1)).await;
    let mut new = question(tenant, &tom, &devices, second(2));
    new.challenge.fallback_time = Some(second(32));
    let asked = created(store.create(new).await.unwrap());
    let id = asked.id;
    assert_eq!(store.next_fallback().await.unwrap(), Some(second(32)));
    assert_eq!(store.fallbacks_due(second(31), 9).await.unwrap(), []);
    assert_eq!(
        store.fallbacks_due(second(32), 9).await.unwrap(),
        [(tenant, id)]
    );
    let mut itself = another_way(&asked, Method::Sms, Some(phone), second(31));
    itself.by_itself = true;
    let early = store.go_on(itself.clone()).await.unwrap();
    assert_eq!(early, WentOn::Already(Box::new(asked.clone())));
    itself = another_way(&asked, Method::Sms, Some(phone), second(32));
    itself.by_itself = true;
    let WentOn::Done { challenge, .. } = store.go_on(itself.clone()).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(*challenge, stored(&store, &asked).await);
    assert_eq!(
        (challenge.method, challenge.fallback_time),
        (Method::Sms, None)
    );
    assert_eq!(challenge.expire_time, second(332));
    assert_eq!(store.next_fallback().await.unwrap(), None);
    assert_eq!(store.next_expiry().await.unwrap(), Some(second(332)));
    let jobs = texts(&store, second(32)).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].purpose, TextPurpose::SignInCode(id));
    // Whoever comes second finds that it has gone on.
    assert!(matches!(
        store.go_on(itself).await.unwrap(),
        WentOn::Already(_)
    ));

    // Phones were told that it would be over by then.
    let swept = store.expire_due(second(62), 9, RECEIPT_KEY.into()).await;
    assert_eq!(swept.unwrap(), []);
    let late = decide(
        &store,
        &asked,
        answer(&devices[0], Choice::Approve),
        second(62),
    )
    .await;
    assert_eq!(late, Decided::PromptExpired);
    let done = guess(&store, &asked, right(), second(300)).await;
    assert_eq!(done.verdict, GuessVerdict::Right);
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

pub(in crate::store) async fn the_fallback_ends_with_the_challenge(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, unwearied()).await;
    let tom = user("tom");
    confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    let planned = |now| {
        let mut new = question(tenant, &tom, &devices, now);
        new.challenge.fallback_time = Some(second(32));
        new
    };
    for n in 0..3 {
        let asked = created(store.create(planned(second(2))).await.unwrap());
        assert_eq!(store.next_fallback().await.unwrap(), Some(second(32)));
        match n {
            0 => {
                decide(&store, &asked, Event::Cancel, second(3)).await;
            }
            1 => {
                ask(&store, tenant, &tom, &devices, second(3)).await;
            }
            _ => {
                store
                    .expire_due(second(62), 9, RECEIPT_KEY.into())
                    .await
                    .unwrap();
            }
        }
        assert_eq!(store.next_fallback().await.unwrap(), None);
    }
    // The last prompt fails: the text is due at once, and it goes on.
    store.claim_pushes(G::Fcm, second(70), 99).await.unwrap();
    let mut new = question(tenant, &tom, &devices, second(70));
    new.challenge.fallback_time = Some(second(100));
    let asked = created(store.create(new).await.unwrap());
    let job = store
        .claim_pushes(G::Fcm, second(70), 1)
        .await
        .unwrap()
        .remove(0);
    let failed = PushResult::Finished {
        delivery: Some((DeliveryState::Failed, "Unregistered".into())),
        token: TokenVerdict::Fine,
        taken: false,
    };
    let ended = store
        .finish_push(job, failed, Some(RECEIPT_KEY.into()), second(71))
        .await
        .unwrap();
    assert_eq!(ended, None);
    assert_eq!(store.next_fallback().await.unwrap(), Some(second(71)));
    assert_eq!(stored(&store, &asked).await.fallback_time, Some(second(71)));
    assert_eq!(
        store.fallbacks_due(second(71), 9).await.unwrap(),
        [(tenant, asked.id)]
    );
    // Nobody to ask from the first: due at once as well.
    let mut new = question(tenant, &tom, &[], second(80));
    new.challenge.fallback_time = Some(second(110));
    let asked = created(store.create(new).await.unwrap());
    assert_eq!(
        (asked.outcome, asked.fallback_time),
        (None, Some(second(80)))
    );
    assert_eq!(store.next_fallback().await.unwrap(), Some(second(80)));
}

pub(in crate::store) async fn a_refused_fallback_is_final(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let devices = [enrolled(&store, tenant, &tom, None).await];
    let mut new = question(tenant, &tom, &devices, second(2));
    new.challenge.fallback_time = Some(second(3));
    let asked = created(store.create(new).await.unwrap());
    let mut itself = another_way(&asked, Method::Sms, Some(authenticator()), second(3));
    itself.by_itself = true;
    let refused = store.go_on(itself.clone()).await.unwrap();
    assert_eq!(refused, WentOn::Refused(CodeRefusal::NoAuthenticator));
    let left = stored(&store, &asked).await;
    assert_eq!((left.fallback_time, left.outcome.as_ref()), (None, None));
    assert_eq!(left.method, Method::Push);
    assert_eq!(store.next_fallback().await.unwrap(), None);
    assert_eq!(texts(&store, second(9)).await, []);
    assert!(matches!(
        store.go_on(itself).await.unwrap(),
        WentOn::Already(_)
    ));
    let answered = decide(
        &store,
        &asked,
        answer(&devices[0], Choice::Approve),
        second(4),
    )
    .await;
    assert!(matches!(answered, Decided::Recorded(_)));
}

pub(in crate::store) async fn a_resend_keeps_the_count(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, None).await];
    texts(&store, second(1)).await;
    let asked = ask(&store, tenant, &tom, &devices, second(2)).await;
    let first = texted(&store, &asked, phone, second(3)).await;
    assert_eq!(first.deliveries.len(), 2);
    assert_eq!(first.deliveries[1].road, Road::Sms);
    guess(&store, &asked, wrong(), second(4)).await;
    guess(&store, &asked, wrong(), second(4)).await;
    let again = |at| another_way(&asked, Method::Sms, Some(phone), second(at));
    let soon = store.go_on(again(32)).await.unwrap();
    assert_eq!(soon, WentOn::Refused(CodeRefusal::TooSoon(second(33))));
    let resent = texted(&store, &asked, phone, second(33)).await;
    assert_eq!((resent.codes.wrong, resent.codes.sends), (2, 2));
    assert_eq!(resent.codes.resend_time, second(93));
    assert_eq!(resent.deliveries.len(), 2);
    // By way of another method the count is the same.
    let mut at = 93;
    for _ in 2..5 {
        at = texted(&store, &asked, phone, second(at))
            .await
            .codes
            .resend_time
            .as_secs()
            - START.as_secs();
    }
    let over = store.go_on(again(at)).await.unwrap();
    assert_eq!(over, WentOn::Refused(CodeRefusal::TooManySends));
    assert_eq!(texts(&store, second(at)).await.len(), 5);
    for _ in 2..5 {
        guess(&store, &asked, wrong(), second(at)).await;
    }
    let end = outcome(&store, &asked).await;
    assert_eq!(end.reason, Reason::TooManyAttempts);
}

pub(in crate::store) async fn back_to_the_prompt(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let devices = [enrolled(&store, tenant, &tom, Some(G::Fcm)).await];
    let new = question(tenant, &tom, &devices, second(2));
    let pushes = new.pushes.clone();
    let asked = created(store.create(new).await.unwrap());
    store.claim_pushes(G::Fcm, second(2), 9).await.unwrap();
    texted(&store, &asked, phone, second(3)).await;
    let mut back = another_way(&asked, Method::Push, None, second(4));
    back.pushes = pushes;
    back.pushes[0].id = crate::domain::ids::PushId::new(second(4), &random());
    let WentOn::Done { challenge, .. } = store.go_on(back.clone()).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(challenge.method, Method::Push);
    assert_eq!(account(&store, tenant, &tom).await.prompts, 2);
    let jobs = store.claim_pushes(G::Fcm, second(4), 9).await.unwrap();
    assert_eq!(jobs, back.pushes);
    // The code does not count while another way is chosen; nothing is lost.
    let typed = guess(&store, &asked, right(), second(5)).await;
    assert_eq!(typed.verdict, GuessVerdict::NothingToCheck);
    let mut late = back;
    late.now = second(62);
    let refused = store.go_on(late).await.unwrap();
    assert_eq!(refused, WentOn::Refused(CodeRefusal::PromptExpired));
    let mut wearied = another_way(&asked, Method::Push, None, second(6));
    for _ in 2..5 {
        store.go_on(wearied.clone()).await.unwrap();
    }
    wearied.now = second(7);
    let refused = store.go_on(wearied).await.unwrap();
    assert_eq!(
        refused,
        WentOn::Refused(CodeRefusal::PromptBudget(second(16)))
    );
}

pub(in crate::store) async fn a_challenge_by_code_alone(place: &dyn Place) {
    let store = place.open().await;
    let tenant = organisation(&store, texting()).await;
    let tom = user("tom");
    let phone = confirmed(&store, tenant, &tom, second(1)).await;
    let mut new = question(tenant, &tom, &[], second(2));
    let purpose = TextPurpose::SignInCode(new.challenge.id);
    new.code = Some(order(tenant, &tom, phone, purpose, second(2)));
    let asked = created(store.create(new).await.unwrap());
    assert_eq!((asked.method, asked.outcome.as_ref()), (Method::Sms, None));
    assert_eq!(asked.codes.sends, 1);
    assert_eq!(asked.expire_time, second(302));
    assert_eq!(store.next_expiry().await.unwrap(), Some(second(302)));
    assert_eq!(texts(&store, second(2)).await.len(), 1);
    assert_eq!(account(&store, tenant, &tom).await.prompts, 0);

    // Nobody else's, and not after its time.
    let foreign = store
        .guess(
            tenant_id(),
            asked.id,
            right(),
            second(3),
            RECEIPT_KEY.into(),
            by(),
        )
        .await
        .unwrap();
    assert_eq!(foreign, None);
    let mut elsewhere = another_way(&asked, Method::Totp, None, second(3));
    elsewhere.tenant = tenant_id();
    assert_eq!(store.go_on(elsewhere).await.unwrap(), WentOn::NotFound);
    let late = guess(&store, &asked, right(), second(302)).await;
    assert_eq!(late.verdict, GuessVerdict::Expired);
    assert_eq!(outcome(&store, &asked).await.state, Final::Expired);
    assert_eq!(open_ids(&store, tenant, &tom, second(3)).await.len(), 0);
}
