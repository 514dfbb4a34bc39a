//! `device-sim demo --once`: nobody has to press a key, and everything is
//! checked.

use std::time::Duration;

use countersign_proto::v1::{
    Challenge, ChallengeState, Decision, DecisionReason, DeliveryState, KeyAlgorithm, authenticator,
};

use jiff::tz::TimeZone;

use super::another_way;
use super::error::{DemoError, expect};
use super::identity_provider::IdentityProvider;
use super::installation::Installation;
use super::road::{APNS, FCM, Service};
use crate::gateway::{Push, Pushes};
use crate::phone::{Phone, PushMessage, Ticket, VerifiedChallenge};
use crate::prompt::{Handset, Paint};
use crate::terminal::Screen;

const ORGANISATION: &str = "Eagle IT BVBA";
/// Only for a demo that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// One enrolment, one approved and one denied sign-in over both services, then
/// one sign-in by each kind of code.
pub(super) async fn run(
    installation: &Installation,
    language: &str,
    screen: &mut Screen,
) -> Result<(), DemoError> {
    let mut story = Story { screen, step: 0 };
    story.step("A broker starts on its embedded store, with emulated push and SMS gateways")?;
    story.note(&format!(
        "gRPC at {}, HTTP at {}",
        installation.grpc, installation.http
    ))?;
    let gateways = installation.gateways();
    story.note(&format!(
        "APNs at {}, FCM at {}",
        gateways.apns().url(),
        gateways.fcm().url()
    ))?;
    story.note(&format!("SMPP at {}", gateways.sms().smpp().addr()))?;

    story.step(&format!(
        "The operator adds the organisation {ORGANISATION:?}"
    ))?;
    let idp = IdentityProvider::new(installation, ORGANISATION).await?;
    story.note(&format!("tenant {}", idp.tenant.tenant_id))?;
    story.note("its sign-in page gets an API key of its own")?;

    let people = [
        (APNS, "tom.cool@example.be"),
        (FCM, "an.peeters@example.be"),
    ];
    for (service, user) in people {
        let mut device = enroll(&mut story, installation, &idp, service, user, language).await?;
        sign_in(
            &mut story,
            &idp,
            service,
            user,
            &mut device,
            Decision::Approve,
        )
        .await?;
        sign_in(&mut story, &idp, service, user, &mut device, Decision::Deny).await?;
    }
    another_way::run(&mut story, installation, &idp, language).await?;
    story.say("")?;
    story.good(
        "All as it should be: 3 enrolments, 2 approvals and 2 denials on phones, 3 approvals by \
         codes, 7 receipts that hold.",
    )
}

/// A phone with its push channel.
pub(super) struct Device {
    pub(super) phone: Phone,
    pub(super) pushes: Pushes,
}

pub(super) async fn enroll(
    story: &mut Story<'_>,
    installation: &Installation,
    idp: &IdentityProvider,
    service: Service,
    user: &str,
    language: &str,
) -> Result<Device, DemoError> {
    story.step(&format!(
        "{user} registers an {} ({})",
        service.phone, service.name
    ))?;
    let ticket = idp.enroll(user).await?;
    story.note(&format!(
        "the page shows a QR code and the code {}",
        ticket.manual_code
    ))?;
    let uri = ticket.enrollment_uri.parse()?;
    let gateways = installation.gateways();
    let options = service.phone(gateways, Ticket::Uri(uri), language)?;
    let token = options.push.clone().unwrap_or_default().token;
    let pushes = gateways
        .devices()
        .connect(&token)
        .ok_or_else(|| DemoError::missing("push token"))?;
    let phone = Phone::enroll(options).await?;
    story.note(&format!(
        "the phone makes its key ({}), redeems the ticket and pins the broker's key",
        match service.algorithm {
            KeyAlgorithm::P256 => "P-256",
            _ => "Ed25519",
        }
    ))?;
    let waiting = idp.enrolled(&ticket.enrollment_id);
    let registered = in_time("the end of the enrolment", waiting).await?;
    expect(
        "registered device",
        registered.authenticator_id.as_str(),
        phone.device_id(),
    )?;
    let Some(authenticator::Kind::Device(device)) = registered.kind else {
        return Err(DemoError::missing("registered device"));
    };
    expect("push token known", device.has_push_token, true)?;
    story.note(&format!(
        "the page moves on by itself: {:?} is registered",
        device.display_name
    ))?;
    Ok(Device { phone, pushes })
}

async fn sign_in(
    story: &mut Story<'_>,
    idp: &IdentityProvider,
    service: Service,
    user: &str,
    device: &mut Device,
    decision: Decision,
) -> Result<(), DemoError> {
    let verb = match decision {
        Decision::Approve => "approves",
        _ => "denies",
    };
    story.step(&format!(
        "{user} signs in and {verb} it on the {}",
        service.phone
    ))?;
    let challenge = idp.sign_in(user).await?.challenge;
    expect("new challenge", challenge.state(), ChallengeState::Pending)?;
    story.note(&format!(
        "the page shows the number {}",
        challenge.number_to_match
    ))?;

    let push = next_push(device).await?;
    tells_nothing(&push, user)?;
    let prompt = match PushMessage::read(&serde_json::to_value(&push).unwrap_or_default()) {
        Some(PushMessage::Sealed { id, sealed }) => {
            story.note(&format!(
                "{} carries the challenge itself, which only the phone can read: {}",
                service.name,
                beginning(&content(&push)),
            ))?;
            let prompt = device.phone.open(&id, &sealed)?;
            story.note("the phone opens it, checks the broker's signature and shows:")?;
            prompt
        }
        _ => {
            story.note(&format!(
                "{} carries only a wake-up: {}",
                service.name,
                content(&push)
            ))?;
            let prompt = fetch(device, &challenge).await?;
            story.note(
                "the phone fetches the challenge, checks the broker's signature and shows:",
            )?;
            prompt
        }
    };
    expect(
        "challenge on the phone",
        prompt.id(),
        challenge.challenge_id.as_str(),
    )?;
    let number = match decision {
        Decision::Approve => challenge.number_to_match.as_str(),
        _ => "",
    };
    story.card(&device.phone, prompt.clone(), number)?;
    device.phone.acknowledge(prompt.id()).await?;
    device.phone.respond(&prompt, decision, number).await?;

    let decided = in_time("the decision", idp.decided(&challenge.challenge_id)).await?;
    let (state, reason) = match decision {
        Decision::Approve => (ChallengeState::Approved, DecisionReason::UserApproved),
        _ => (ChallengeState::Denied, DecisionReason::UserDenied),
    };
    expect("state of the challenge", decided.state(), state)?;
    expect("reason of the decision", decided.reason(), reason)?;
    expect(
        "deciding device",
        decided.decided_by_device_id.as_str(),
        device.phone.device_id(),
    )?;
    let delivery = decided.deliveries.first().map(|delivery| delivery.state());
    expect("delivery", delivery, Some(DeliveryState::Answered))?;
    let reason = decided.reason().as_str_name();
    story.note(&format!(
        "the page is told: {} ({reason})",
        state.as_str_name()
    ))?;

    let receipt = idp.check_receipt(&decided).await?;
    let answered = receipt.response.map(|response| response.decision());
    expect("answer in the receipt", answered, Some(decision))?;
    story.good(&format!(
        "   the receipt holds: {}, signed by the broker and by the phone itself{}",
        receipt.claims.decision,
        match receipt.claims.amr.join(" ") {
            amr if amr.is_empty() => amr,
            amr => format!(" (amr: {amr})"),
        },
    ))
}

pub(super) async fn next_push(device: &mut Device) -> Result<Push, DemoError> {
    let push = tokio::time::timeout(PATIENCE, device.pushes.recv()).await;
    push.ok().flatten().ok_or(DemoError::TooLate {
        what: "a push",
        within: PATIENCE,
    })
}

async fn fetch(device: &Device, challenge: &Challenge) -> Result<VerifiedChallenge, DemoError> {
    let pending = device.phone.list_pending().await?;
    if let Some((_, error)) = pending.refused.into_iter().next() {
        return Err(error.into());
    }
    let mut challenges = pending.challenges.into_iter();
    challenges
        .find(|one| one.id() == challenge.challenge_id)
        .ok_or_else(|| DemoError::missing("challenge on the phone"))
}

/// What Apple or Google get to read.
fn content(push: &Push) -> String {
    match push {
        Push::Apns(push) => push.payload.to_string(),
        Push::Fcm(push) => push
            .message
            .get("data")
            .map_or_else(String::new, ToString::to_string),
    }
}

/// As much as fits on two lines.
fn beginning(text: &str) -> String {
    let start: String = text.chars().take(150).collect();
    match text.len() - start.len() {
        0 => start,
        rest => format!("{start}… and {rest} bytes more"),
    }
}

/// Neither who nor what nor where goes through Apple or Google.
fn tells_nothing(push: &Push, user: &str) -> Result<(), DemoError> {
    let sent = serde_json::to_string(push).unwrap_or_default();
    let secrets = [user, ORGANISATION, "Webmail", "198.51.100.7", "Gent"];
    match secrets.into_iter().find(|secret| sent.contains(secret)) {
        None => Ok(()),
        Some(secret) => Err(DemoError::Unexpected {
            what: "push",
            expected: "nothing about the sign-in".to_owned(),
            found: secret.to_owned(),
        }),
    }
}

pub(super) async fn in_time<T>(
    what: &'static str,
    future: impl Future<Output = Result<T, DemoError>>,
) -> Result<T, DemoError> {
    let late = DemoError::TooLate {
        what,
        within: PATIENCE,
    };
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or(Err(late))
}

/// What the demo tells.
pub(super) struct Story<'a> {
    screen: &'a mut Screen,
    step: u32,
}

impl Story<'_> {
    pub(super) fn step(&mut self, text: &str) -> Result<(), DemoError> {
        self.step += 1;
        let line = self.screen.paint().bold(&format!("{}. {text}", self.step));
        self.say(&line)
    }

    pub(super) fn note(&mut self, text: &str) -> Result<(), DemoError> {
        self.say(&format!("   {text}"))
    }

    /// The prompt as the phone's owner sees it, with the number typed.
    fn card(
        &mut self,
        phone: &Phone,
        prompt: VerifiedChallenge,
        number: &str,
    ) -> Result<(), DemoError> {
        let mut handset = Handset::new(phone.language(), TimeZone::system());
        handset.offer(prompt);
        for digit in number.chars() {
            handset.press(digit);
        }
        let card = handset.card(66, self.screen.paint());
        card.iter().try_for_each(|line| self.note(line))
    }

    pub(super) fn paint(&self) -> Paint {
        self.screen.paint()
    }

    pub(super) fn good(&mut self, text: &str) -> Result<(), DemoError> {
        let line = self.screen.paint().green(text);
        self.say(&line)
    }

    pub(super) fn say(&mut self, line: &str) -> Result<(), DemoError> {
        Ok(self.screen.say(line)?)
    }
}
