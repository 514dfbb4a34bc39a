//! Several SMS gateways in order, and faults that hit the first.

use countersign_server::delivery::sms::TextOutcome;
use device_sim::fault::Fault;
use device_sim::gateway::sms::SmsGateway::{self, Smpp, Twilio, Webhook};

use crate::sms_rig::{SmsRig, TO, accepted_by};

fn schedule(rig: &SmsRig, gateway: SmsGateway, faults: impl IntoIterator<Item = Fault>) {
    let found = rig.emulators.faults(gateway.name()).unwrap();
    found.schedule(faults);
}

#[tokio::test]
async fn refusals_for_now_go_to_the_next_gateway_at_once() {
    let faults = [
        Fault::TooManyRequests {
            retry_after: Some(1),
        },
        Fault::InternalError,
        Fault::Unavailable { retry_after: None },
    ];
    for first in [Twilio, Webhook, Smpp] {
        for fault in &faults {
            let next = if first == Webhook { Twilio } else { Webhook };
            let rig = SmsRig::start(&[first, next]).await;
            schedule(&rig, first, [fault.clone()]);
            let outcome = rig.send(TO).await;
            assert_eq!(outcome, accepted_by(next), "{first:?} {fault:?}");
            assert_eq!((rig.taken(first), rig.taken(next)), (0, 1));
        }
    }
}

#[tokio::test]
async fn what_was_perhaps_sent_is_not_sent_again() {
    for (first, next) in [(Twilio, Webhook), (Webhook, Twilio), (Smpp, Webhook)] {
        let rig = SmsRig::start(&[first, next]).await;
        schedule(&rig, first, [Fault::Reset { processed: true }]);
        let outcome = rig.send(TO).await;
        let unknown =
            matches!(&outcome, TextOutcome::Unknown { gateway, .. } if gateway == first.name());
        assert!(unknown, "{first:?} {outcome:?}");
        assert_eq!((rig.taken(first), rig.taken(next)), (1, 0));
    }
}

#[tokio::test]
async fn a_dead_gateway_costs_nothing_and_is_found_again() {
    let rig = SmsRig::start(&[Smpp, Webhook, Twilio]).await;
    assert_eq!(rig.send(TO).await, accepted_by(Smpp));
    let sms = rig.emulators.sms();
    sms.smpp().faults().set_down(true);
    // The session may break while a text is on it; then it is not known.
    while rig.send(TO).await != accepted_by(Webhook) {
        tokio::task::yield_now().await;
    }
    sms.webhook().faults().set_down(true);
    while rig.send(TO).await != accepted_by(Twilio) {
        tokio::task::yield_now().await;
    }
    sms.twilio().faults().set_down(true);
    loop {
        let outcome = rig.send(TO).await;
        if outcome.name() == "retry_after" {
            break;
        }
        assert_eq!(outcome.name(), "unknown", "{outcome:?}");
    }
    for faults in [
        sms.smpp().faults(),
        sms.webhook().faults(),
        sms.twilio().faults(),
    ] {
        faults.set_down(false);
    }
    while rig.send(TO).await != accepted_by(Smpp) {
        // The breakers of the others open meanwhile, and close.
        rig.advance_s(1);
        tokio::task::yield_now().await;
    }
}
