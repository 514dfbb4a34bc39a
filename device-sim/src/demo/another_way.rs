//! `device-sim demo --once`, its second part: a user with a number, an
//! authenticator app and recovery codes signs in by each of them.

use countersign_proto::v1::{
    Challenge, ChallengeState, DecisionReason, DeliveryState, Gateway, Method,
};

use super::authenticator_app::step_at;
use super::error::{DemoError, expect};
use super::identity_provider::IdentityProvider;
use super::installation::Installation;
use super::other_ways::{OtherWays, code_in, shown, text_with_code};
use super::road::APNS;
use super::sentences;
use super::unattended::{Device, Story, enroll, in_time, next_push};
use crate::gateway::Push;
use crate::phone::{PushMessage, system_clock};

const USER: &str = "lea.maes@example.be";
/// Of a Belgian mobile phone.
const NUMBER: &str = "+32470123440";
/// Columns of a text message that is shown.
const COLUMNS: usize = 66;

/// One sign-in by a code from an app, one by a recovery code, and one by a text
/// after the push was refused.
pub(super) async fn run(
    story: &mut Story<'_>,
    installation: &Installation,
    idp: &IdentityProvider,
    language: &str,
) -> Result<(), DemoError> {
    let mut device = enroll(story, installation, idp, APNS, USER, language).await?;
    story.step(&format!("{USER} registers other ways to sign in"))?;
    let inbox = installation.gateways().sms().inbox();
    let ways = OtherWays::register(idp, inbox, USER, NUMBER, language).await?;
    story.note("an authenticator app scans a QR code, and proves it by a code")?;
    story.note(&format!(
        "{} recovery codes on paper, shown this once: {}, …",
        ways.sheet.len(),
        ways.sheet.first().map_or("", String::as_str)
    ))?;
    story.note(&format!(
        "the number {}, proven by the code that came to it",
        ways.masked
    ))?;

    by_app(story, idp, &mut device, &ways).await?;
    by_sheet(story, idp, &mut device, &ways).await?;
    by_text(story, installation, idp, &mut device, &ways).await
}

async fn by_app(
    story: &mut Story<'_>,
    idp: &IdentityProvider,
    device: &mut Device,
    ways: &OtherWays,
) -> Result<(), DemoError> {
    story.step(&format!(
        "{USER} has trouble with the app, and types a code of another one"
    ))?;
    let challenge = asked(idp, device).await?;
    story.note(&format!("the page: {}", sentences::waiting(&challenge)))?;
    story.note("Having trouble? Sign in another way.")?;
    let waiting = idp.send_code(&challenge.challenge_id, Method::Totp).await?;
    expect("method", waiting.method(), Method::Totp)?;
    story.note(&format!("the page: {}", sentences::waiting(&waiting)))?;
    // A step that was used is not taken twice.
    let step = step_at(system_clock()()).max(ways.used_step + 1);
    let code = ways.app.code(step);
    story.note(&format!("the authenticator app shows {code}"))?;
    let decided = idp.verify_code(&challenge.challenge_id, &code).await?;
    approved(story, idp, &decided, Method::Totp, &ways.app_id).await?;
    withdrawn(story, device, &challenge).await
}

async fn by_sheet(
    story: &mut Story<'_>,
    idp: &IdentityProvider,
    device: &mut Device,
    ways: &OtherWays,
) -> Result<(), DemoError> {
    story.step(&format!("{USER} has only the sheet of recovery codes"))?;
    let challenge = asked(idp, device).await?;
    let id = &challenge.challenge_id;
    let waiting = idp.send_code(id, Method::RecoveryCode).await?;
    expect("method", waiting.method(), Method::RecoveryCode)?;
    story.note(&format!("the page: {}", sentences::waiting(&waiting)))?;
    let code = ways
        .sheet
        .first()
        .ok_or_else(|| DemoError::missing("recovery code"))?;
    story.note(&format!("typed as people type: {}", code.to_lowercase()))?;
    let decided = idp.verify_code(id, &code.to_lowercase()).await?;
    approved(story, idp, &decided, Method::RecoveryCode, &ways.sheet_id).await?;
    withdrawn(story, device, &challenge).await
}

async fn by_text(
    story: &mut Story<'_>,
    installation: &Installation,
    idp: &IdentityProvider,
    device: &mut Device,
    ways: &OtherWays,
) -> Result<(), DemoError> {
    story.step(&format!("{USER} has deleted the app from the iPhone"))?;
    let gateways = installation.gateways();
    let token = device.phone.push().unwrap_or_default().token;
    expect("push token", gateways.devices().uninstall(&token), true)?;
    let inbox = gateways.sms().inbox();
    let before = inbox.last_seq();
    let challenge = idp.sign_in(USER).await?.challenge;
    expect("new challenge", challenge.state(), ChallengeState::Pending)?;
    let waiting = in_time(
        "the fallback to a text",
        texted(idp, &challenge.challenge_id),
    )
    .await?;
    let refused = waiting
        .deliveries
        .iter()
        .find(|delivery| delivery.gateway() == Gateway::Apns);
    let refused = refused.ok_or_else(|| DemoError::missing("delivery over APNs"))?;
    expect("delivery over APNs", refused.state(), DeliveryState::Failed)?;
    story.note(&format!(
        "APNs refuses the push ({}): the broker goes on by itself",
        refused.reason
    ))?;
    let masked = waiting
        .code_delivery
        .clone()
        .unwrap_or_default()
        .masked_destination;
    expect("masked number", &masked, &ways.masked)?;
    expect("masked number", masked.as_str(), "+XX XXXXXXX40")?;
    story.note(&format!("the page: {}", sentences::waiting(&waiting)))?;
    let text = text_with_code(inbox, &ways.number, before).await?;
    for line in shown(&text, COLUMNS, story.paint()) {
        story.note(&line)?;
    }
    let code = code_in(&text.text).unwrap_or_default();

    let wrong = if code == "000000" { "000001" } else { "000000" };
    match idp.verify_code(&challenge.challenge_id, wrong).await {
        Err(DemoError::Call { status, .. }) => {
            expect("refusal", sentences::reason(&status).as_str(), "WRONG_CODE")?;
            story.note(&format!(
                "{wrong} is typed: {}",
                sentences::refusal(&status)
            ))?;
        }
        Err(error) => return Err(error),
        Ok(decided) => {
            expect(
                "state after a wrong code",
                decided.state(),
                ChallengeState::Pending,
            )?;
        }
    }
    story.note(&format!("{code} is typed"))?;
    let decided = idp.verify_code(&challenge.challenge_id, code).await?;
    approved(story, idp, &decided, Method::Sms, &ways.phone_id).await
}

/// A sign-in whose prompt is on the phone.
async fn asked(idp: &IdentityProvider, device: &mut Device) -> Result<Challenge, DemoError> {
    let challenge = idp.sign_in(USER).await?.challenge;
    expect("new challenge", challenge.state(), ChallengeState::Pending)?;
    loop {
        // Other pushes may tell of what was registered.
        let push = next_push(device).await?;
        if let Some(PushMessage::Sealed { id, .. }) = message(&push) {
            expect("challenge in the push", &id, &challenge.challenge_id)?;
            return Ok(challenge);
        }
    }
}

fn message(push: &Push) -> Option<PushMessage> {
    PushMessage::read(&serde_json::to_value(push).unwrap_or_default())
}

/// The challenge as soon as a text was sent for it.
async fn texted(idp: &IdentityProvider, challenge_id: &str) -> Result<Challenge, DemoError> {
    let mut changes = idp.watch(challenge_id).await?;
    loop {
        let change = changes.message().await;
        let change = change.map_err(DemoError::call("WatchChallenge"))?;
        let challenge = change.and_then(|change| change.challenge);
        let challenge = challenge.ok_or_else(|| DemoError::missing("change of the challenge"))?;
        expect("challenge", challenge.state(), ChallengeState::Pending)?;
        if challenge.method() == Method::Sms {
            return Ok(challenge);
        }
    }
}

/// The code decided, and the receipt says whose it was.
async fn approved(
    story: &mut Story<'_>,
    idp: &IdentityProvider,
    decided: &Challenge,
    method: Method,
    authenticator_id: &str,
) -> Result<(), DemoError> {
    expect(
        "state of the challenge",
        decided.state(),
        ChallengeState::Approved,
    )?;
    expect(
        "reason of the decision",
        decided.reason(),
        DecisionReason::CodeVerified,
    )?;
    expect("method of the decision", decided.method(), method)?;
    expect(
        "deciding authenticator",
        decided.decided_by_authenticator_id.as_str(),
        authenticator_id,
    )?;
    story.note(&format!(
        "the page is told: {} ({})",
        decided.state().as_str_name(),
        decided.reason().as_str_name()
    ))?;
    let receipt = idp.check_receipt(decided).await?;
    story.good(&format!(
        "   the receipt holds: {}, signed by the broker (method: {}, amr: {})",
        receipt.claims.decision,
        receipt.claims.method,
        receipt.claims.amr.join(" ")
    ))
}

/// The prompt goes from the phone.
async fn withdrawn(
    story: &mut Story<'_>,
    device: &mut Device,
    challenge: &Challenge,
) -> Result<(), DemoError> {
    loop {
        let push = next_push(device).await?;
        if let Some(PushMessage::Withdraw { id }) = message(&push) {
            expect("challenge withdrawn", &id, &challenge.challenge_id)?;
            return story.note("the prompt on the iPhone is withdrawn");
        }
    }
}
