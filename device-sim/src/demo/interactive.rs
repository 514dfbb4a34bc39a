//! `device-sim demo`: one person is the user at the sign-in page and the owner
//! of the phone.

use std::time::Duration;

use countersign_proto::v1::{Challenge, ChallengeState};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::DemoError;
use super::identity_provider::IdentityProvider;
use super::installation::Installation;
use super::other_ways::{OtherWays, code_in, shown};
use super::page::Page;
use super::qr::qr;
use super::road::APNS;
use crate::command::phone::InHand;
use crate::gateway::{Inbox, TextMessage};
use crate::phone::{Phone, Road, Ticket};
use crate::terminal::{Key, Keys, Screen};

const ORGANISATION: &str = "Eagle IT BVBA";
const USER: &str = "tom.cool@example.be";
/// Of a Belgian mobile phone.
const NUMBER: &str = "+32470123440";

/// Longest wait for the page to say that a text was sent: it came already.
const SETTLE: Duration = Duration::from_secs(2);

/// Rounds of sign-ins until the user leaves.
pub(super) async fn run(installation: &Installation, language: &str) -> Result<(), DemoError> {
    let idp = IdentityProvider::new(installation, ORGANISATION).await?;
    let mut keys = Keys::open();
    let mut screen = Screen::stdout(keys.is_terminal());
    let bold = |screen: &Screen, text: &str| screen.paint().bold(text);
    let title = bold(
        &screen,
        "Countersign: a sign-in page and a phone in one terminal",
    );
    screen.say(&title)?;
    screen.say(&format!(
        "Broker at {} (gRPC) and {} (HTTP); push gateways' control page at http://{}/",
        installation.grpc,
        installation.http,
        installation.gateways().control_addr(),
    ))?;

    let Some(phone) = enroll(installation, &idp, language, &mut keys, &mut screen).await? else {
        return Ok(());
    };
    let inbox = installation.gateways().sms().inbox();
    let ways = OtherWays::register(&idp, inbox, USER, NUMBER, language).await?;
    screen.say(&format!(
        "Other ways to sign in: texts to {}, an authenticator app, {} recovery codes.",
        ways.masked,
        ways.sheet.len(),
    ))?;
    let mut texts = texts(inbox.clone());
    let mut hand = phone.map(|phone| {
        let push = phone.push().unwrap_or_default();
        let control = format!("http://{}", installation.gateways().control_addr());
        let road = Road::Pushes {
            control,
            token: push.token,
        };
        InHand::new(&phone, road, language)
    });
    let (sender, mut news) = mpsc::channel(8);
    let mut page = Page::new(idp, USER, ways, sender);
    page.menu(&mut screen)?;
    loop {
        let prompt = hand.as_ref().is_some_and(InHand::shows_prompt);
        page.show_field(prompt, &mut screen)?;
        tokio::select! {
            key = keys.next() => {
                let used = page.typed(&key, prompt, &mut screen).await?
                    || match &mut hand {
                        Some(hand) => hand.typed(&key, &mut screen)?,
                        None => false,
                    };
                match key {
                    _ if used => {}
                    Key::Quit | Key::Closed | Key::Char('q' | 'Q') => break,
                    Key::Char(key) => page.command(key, &mut screen).await?,
                    _ => {}
                }
            }
            event = async {
                match &mut hand {
                    Some(hand) => hand.next().await,
                    None => std::future::pending().await,
                }
            } => if let Some(hand) = &mut hand {
                hand.handle(event, &mut screen)?;
            },
            Some(challenge) = news.recv() => {
                hear(challenge?, &mut page, hand.as_mut(), &mut screen).await?;
            }
            Some(text) = texts.recv() => {
                // The page's word first, so that the text stands below it.
                while code_in(&text.text).is_some() && page.is_behind_text() {
                    let Ok(Some(challenge)) = timeout(SETTLE, news.recv()).await else {
                        break;
                    };
                    hear(challenge?, &mut page, hand.as_mut(), &mut screen).await?;
                }
                let lines = shown(&text, screen.columns(), screen.paint());
                screen.say_exactly(&lines.join("\n"))?;
            }
            () = page.app_turns() => page.show_app(&mut screen)?,
        }
    }
    screen.field(None)?;
    screen.card(Vec::new(), true)?;
    screen.say("Goodbye.")?;
    Ok(())
}

/// What becomes of a sign-in: the phone's last word first, then the page's.
async fn hear(
    challenge: Challenge,
    page: &mut Page,
    hand: Option<&mut InHand>,
    screen: &mut Screen,
) -> Result<(), DemoError> {
    let ended = challenge.state() != ChallengeState::Pending;
    if ended && let Some(hand) = hand {
        hand.settle(&challenge.challenge_id, screen).await?;
    }
    page.heard(challenge, screen).await
}

/// Shows the ticket until a phone has redeemed it: the simulated one
/// (`Some(Some(phone))`), or one from elsewhere (`Some(None)`). `None`: the
/// user left.
async fn enroll(
    installation: &Installation,
    idp: &IdentityProvider,
    language: &str,
    keys: &mut Keys,
    screen: &mut Screen,
) -> Result<Option<Option<Phone>>, DemoError> {
    let ticket = idp.enroll(USER).await?;
    screen.say("")?;
    screen.say(&format!("{USER} registers a phone. The page shows:"))?;
    if let Some(code) = qr(&ticket.enrollment_uri, screen.paint().colour) {
        screen.say_exactly(&code)?;
    }
    screen.say(&format!("Can't scan? Type {}", ticket.manual_code))?;
    screen.say("Another terminal can be the phone:")?;
    screen.say_exactly(&format!(
        "  device-sim phone --enroll '{}'",
        ticket.enrollment_uri
    ))?;
    let hint = screen
        .paint()
        .bold("[Enter] the simulated iPhone scans it    [q] quit");
    screen.say(&hint)?;
    let redeemed = idp.enrolled(&ticket.enrollment_id);
    tokio::pin!(redeemed);
    loop {
        tokio::select! {
            key = keys.next() => match key {
                Key::Quit | Key::Closed | Key::Char('q' | 'Q') => return Ok(None),
                Key::Enter | Key::Char(' ') => {
                    let uri = ticket.enrollment_uri.parse()?;
                    let options = APNS.phone(installation.gateways(), Ticket::Uri(uri), language)?;
                    let phone = Phone::enroll(options).await?;
                    screen.say("The page: the iPhone is registered.")?;
                    return Ok(Some(Some(phone)));
                }
                _ => {}
            },
            authenticator = &mut redeemed => {
                let id = authenticator?.authenticator_id;
                screen.say(&format!("The page: a phone is registered (device {id})."))?;
                return Ok(Some(None));
            }
        }
    }
}

/// The texts that come to the user's number from now on.
fn texts(inbox: Inbox) -> mpsc::Receiver<TextMessage> {
    let (sender, texts) = mpsc::channel(8);
    let mut last = inbox.last_seq();
    tokio::spawn(async move {
        loop {
            let text = inbox.wait_for(NUMBER, |text| text.seq > last).await;
            last = text.seq;
            // The user may have left meanwhile.
            if sender.send(text).await.is_err() {
                return;
            }
        }
    });
    texts
}
