//! `device-sim demo`: one person is the user at the sign-in page and the owner
//! of the phone.

use countersign_proto::v1::{Challenge, ChallengeState};
use tokio::sync::mpsc;

use super::error::DemoError;
use super::identity_provider::IdentityProvider;
use super::installation::Installation;
use super::qr::qr;
use super::road::APNS;
use crate::command::phone::InHand;
use crate::phone::{Phone, Road, Ticket};
use crate::terminal::{Key, Keys, Screen};

const ORGANISATION: &str = "Eagle IT BVBA";
const USER: &str = "tom.cool@example.be";

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
    let mut hand = phone.map(|phone| {
        let push = phone.push().unwrap_or_default();
        let control = format!("http://{}", installation.gateways().control_addr());
        let road = Road::Pushes {
            control,
            token: push.token,
        };
        InHand::new(&phone, road, language)
    });
    let mut page = Page::new(idp);
    page.menu(&mut screen)?;
    loop {
        tokio::select! {
            key = keys.next() => {
                let used = match &mut hand {
                    Some(hand) => hand.typed(&key, &mut screen)?,
                    None => false,
                };
                match key {
                    _ if used => {}
                    Key::Quit | Key::Closed | Key::Char('q' | 'Q') => break,
                    Key::Char('s' | 'S') => page.sign_in(&mut screen).await?,
                    Key::Char('c' | 'C') => page.cancel(&mut screen).await?,
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
            Some(decided) = page.decisions.recv() => {
                let decided = decided?;
                if let Some(hand) = &mut hand {
                    hand.settle(&decided.challenge_id, &mut screen).await?;
                }
                page.decided(decided, &mut screen).await?;
            }
        }
    }
    screen.card(Vec::new(), true)?;
    screen.say("Goodbye.")?;
    Ok(())
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

/// The sign-in page.
struct Page {
    idp: IdentityProvider,
    waiting: Option<String>,
    decisions: mpsc::Receiver<Result<Challenge, DemoError>>,
    sender: mpsc::Sender<Result<Challenge, DemoError>>,
}

impl Page {
    fn new(idp: IdentityProvider) -> Self {
        let (sender, decisions) = mpsc::channel(8);
        Self {
            idp,
            waiting: None,
            decisions,
            sender,
        }
    }

    fn menu(&self, screen: &mut Screen) -> Result<(), DemoError> {
        let keys = match &self.waiting {
            None => "[s] sign in    [q] quit",
            Some(_) => "[c] give this sign-in up    [s] sign in once more    [q] quit",
        };
        let keys = screen.paint().bold(keys);
        screen.say("")?;
        Ok(screen.say(&format!("Sign-in page: {keys}"))?)
    }

    async fn sign_in(&mut self, screen: &mut Screen) -> Result<(), DemoError> {
        let challenge = match self.idp.sign_in(USER).await {
            Ok(sign_in) => sign_in.challenge,
            // Too many prompts, or another rule of the tenant: not the end.
            Err(error @ DemoError::Call { .. }) => {
                screen.say(&format!("The page: {error}"))?;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let number = screen.paint().bold(&challenge.number_to_match);
        screen.say("")?;
        screen.say(&format!(
            "The page: Approve sign in request. We've sent a notification to your mobile \
             device. Number: {number}"
        ))?;
        self.waiting = Some(challenge.challenge_id.clone());
        let (idp, sender) = (self.idp.clone(), self.sender.clone());
        tokio::spawn(async move {
            let decided = idp.decided(&challenge.challenge_id).await;
            // The user may have left meanwhile.
            drop(sender.send(decided).await);
        });
        self.menu(screen)
    }

    async fn cancel(&mut self, screen: &mut Screen) -> Result<(), DemoError> {
        let Some(challenge_id) = &self.waiting else {
            return Ok(());
        };
        match self.idp.cancel(challenge_id).await {
            // Answered at the same moment.
            Err(DemoError::Call { status, .. })
                if status.code() == tonic::Code::FailedPrecondition => {}
            other => other?,
        }
        Ok(screen.say("The page: given up.")?)
    }

    async fn decided(
        &mut self,
        challenge: Challenge,
        screen: &mut Screen,
    ) -> Result<(), DemoError> {
        let paint = screen.paint();
        let words = match challenge.state() {
            ChallengeState::Approved => paint.green("Notification approved. You are signed in."),
            ChallengeState::Denied => paint.red("The sign-in was denied."),
            ChallengeState::Expired => paint.red("Nobody answered in time: not signed in."),
            _ => paint.red("The sign-in was given up."),
        };
        screen.say(&format!(
            "The page: {words} ({})",
            challenge.reason().as_str_name()
        ))?;
        let receipt = self.idp.check_receipt(&challenge).await?;
        let by = match receipt.response {
            Some(_) => "signed by the broker and by the phone",
            None => "signed by the broker; no phone answered",
        };
        screen.say(&format!(
            "The receipt holds: {}, {by}.",
            receipt.claims.decision
        ))?;
        if self.waiting.as_deref() == Some(challenge.challenge_id.as_str()) {
            self.waiting = None;
            self.menu(screen)?;
        }
        Ok(())
    }
}
