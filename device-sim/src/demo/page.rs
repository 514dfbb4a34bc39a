//! The sign-in page of the demo, and who sits before it.

use std::time::Duration;

use countersign_proto::v1::{Challenge, ChallengeState, Method};
use tokio::sync::mpsc;

use super::authenticator_app::{left_at, step_at};
use super::error::DemoError;
use super::identity_provider::IdentityProvider;
use super::other_ways::OtherWays;
use super::sentences;
use crate::phone::system_clock;
use crate::receipt::Receipt;
use crate::terminal::{Key, Screen};

/// Longest entry in the code's field.
const MAX_ENTRY: usize = 40;

/// Two clocks may differ a little on when a step begins.
const AFTER_TURN: Duration = Duration::from_millis(50);

/// A sign-in as it is now.
pub(super) type News = Result<Challenge, DemoError>;

/// The sign-in page.
pub(super) struct Page {
    idp: IdentityProvider,
    user: &'static str,
    ways: OtherWays,
    waiting: Option<Waiting>,
    news: mpsc::Sender<News>,
}

/// The sign-in that the page shows.
struct Waiting {
    challenge: Challenge,
    /// Whether the person turned from the phone to the page to type a code.
    at_page: bool,
    entry: String,
    /// What was sent last.
    submitted: String,
}

impl Waiting {
    fn awaits_code(&self) -> bool {
        let method = self.challenge.method();
        matches!(method, Method::Sms | Method::Totp | Method::RecoveryCode)
    }

    /// Whether what is typed goes into the page's field. Digits may be meant for
    /// a prompt on the phone as well.
    fn has_keyboard(&self, prompt: bool) -> bool {
        self.awaits_code()
            && (self.at_page || !prompt && self.challenge.method() != Method::RecoveryCode)
    }

    fn takes(&self, c: char) -> bool {
        let sheet = self.challenge.method() == Method::RecoveryCode;
        c.is_ascii_digit() || sheet && (c.is_ascii_alphabetic() || matches!(c, '-' | ' '))
    }
}

impl Page {
    /// `news` is told how sign-ins get on.
    pub(super) fn new(
        idp: IdentityProvider,
        user: &'static str,
        ways: OtherWays,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self {
            idp,
            user,
            ways,
            waiting: None,
            news,
        }
    }

    /// The keys that mean something to the page.
    pub(super) fn menu(&self, screen: &mut Screen) -> Result<(), DemoError> {
        let paint = screen.paint();
        screen.say("")?;
        let Some(waiting) = &self.waiting else {
            let keys = paint.bold("[s] sign in    [q] quit");
            return Ok(screen.say(&format!("Sign-in page: {keys}"))?);
        };
        let method = waiting.challenge.method();
        let mut ways = vec![match method {
            Method::Sms => "[t] text me again",
            _ => "[t] text me a code",
        }];
        let others = [
            (Method::Totp, "[o] authenticator app"),
            (Method::RecoveryCode, "[v] recovery code"),
            (Method::Push, "[b] back to app"),
        ];
        ways.extend(
            others
                .iter()
                .filter(|(other, _)| *other != method)
                .map(|(_, key)| *key),
        );
        let mut keys = vec!["[c] give up", "[s] sign in once more", "[q] quit"];
        if waiting.awaits_code() && !waiting.at_page {
            keys.insert(0, "[k] type the code");
        }
        screen.say("Sign-in page: Having trouble? Sign in another way.")?;
        screen.say(&paint.bold(&format!("  {}", ways.join("  "))))?;
        Ok(screen.say(&paint.bold(&format!("  {}", keys.join("  "))))?)
    }

    /// The field for a code, where it has the keyboard. `prompt`: whether the
    /// phone shows one.
    pub(super) fn show_field(&self, prompt: bool, screen: &mut Screen) -> Result<(), DemoError> {
        let waiting = self.waiting.as_ref();
        let field = waiting.filter(|waiting| waiting.has_keyboard(prompt));
        let field = field.map(|waiting| {
            let keys = match (waiting.entry.is_empty(), waiting.at_page && prompt) {
                (true, true) => "   [Esc] to the phone",
                (true, false) => "",
                (false, _) => "   [Enter] check it",
            };
            format!(
                "Code on the page: {}_{}",
                waiting.entry,
                screen.paint().bold(keys)
            )
        });
        Ok(screen.field(field)?)
    }

    /// A key for the field; `false`: it is not.
    pub(super) async fn typed(
        &mut self,
        key: &Key,
        prompt: bool,
        screen: &mut Screen,
    ) -> Result<bool, DemoError> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(false);
        };
        if !waiting.has_keyboard(prompt) {
            return Ok(false);
        }
        match key {
            Key::Char(c) if waiting.takes(*c) => {
                if waiting.entry.len() < MAX_ENTRY {
                    waiting.entry.push(*c);
                }
            }
            Key::Backspace => {
                waiting.entry.pop();
            }
            Key::Escape => {
                waiting.at_page = false;
                waiting.entry.clear();
                self.menu(screen)?;
            }
            Key::Enter if !waiting.entry.is_empty() => {
                waiting.submitted = std::mem::take(&mut waiting.entry);
                let id = waiting.challenge.challenge_id.clone();
                let verified = self.idp.verify_code(&id, &waiting.submitted).await;
                if let Err(DemoError::Call { status, .. }) = &verified
                    && sentences::reason(status) == "GUESS_TOO_SOON"
                {
                    // It was not looked at: nobody should have to type it again.
                    waiting.entry.clone_from(&waiting.submitted);
                }
                // What it decided comes as news.
                self.done(verified, screen)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A key of the menu.
    pub(super) async fn command(
        &mut self,
        key: char,
        screen: &mut Screen,
    ) -> Result<(), DemoError> {
        match key.to_ascii_lowercase() {
            's' => self.sign_in(screen).await,
            'c' => self.cancel(screen).await,
            't' => self.other_way(Method::Sms, screen).await,
            'o' => self.other_way(Method::Totp, screen).await,
            'v' => self.other_way(Method::RecoveryCode, screen).await,
            'b' => self.other_way(Method::Push, screen).await,
            'k' => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.at_page = waiting.awaits_code();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn sign_in(&mut self, screen: &mut Screen) -> Result<(), DemoError> {
        let challenge = match self.idp.sign_in(self.user).await {
            Ok(sign_in) => sign_in.challenge,
            // Too many prompts, or another rule of the tenant: not the end.
            refused => return self.done(refused.map(|_| ()), screen),
        };
        let (idp, news) = (self.idp.clone(), self.news.clone());
        tokio::spawn(follow(idp, challenge.challenge_id.clone(), news));
        screen.say("")?;
        self.waiting = Some(Waiting {
            challenge,
            at_page: false,
            entry: String::new(),
            submitted: String::new(),
        });
        self.show_waiting(screen)
    }

    async fn cancel(&mut self, screen: &mut Screen) -> Result<(), DemoError> {
        let Some(waiting) = &self.waiting else {
            return Ok(());
        };
        let cancelled = self.idp.cancel(&waiting.challenge.challenge_id).await;
        self.done(cancelled, screen)
    }

    async fn other_way(&mut self, method: Method, screen: &mut Screen) -> Result<(), DemoError> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        let id = waiting.challenge.challenge_id.clone();
        let sent = self.idp.send_code(&id, method).await;
        if sent.is_ok() {
            waiting.at_page = method != Method::Push;
        }
        // What is shown follows the news alone: some may be older than this answer.
        self.done(sent, screen)
    }

    /// Says why a call was refused; other errors end the demo.
    fn done<T>(&self, result: Result<T, DemoError>, screen: &mut Screen) -> Result<(), DemoError> {
        match result {
            Ok(_) => Ok(()),
            Err(DemoError::Call { status, .. }) => {
                let words = screen.paint().red(&sentences::refusal(&status));
                Ok(screen.say(&format!("The page: {words}"))?)
            }
            Err(error) => Err(error),
        }
    }

    /// A sign-in that still waits may go on by another way.
    fn changed(&mut self, challenge: Challenge, screen: &mut Screen) -> Result<(), DemoError> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        let old = &waiting.challenge;
        if old.challenge_id != challenge.challenge_id
            || challenge.state() != ChallengeState::Pending
        {
            return Ok(());
        }
        let sent = |challenge: &Challenge| {
            let delivery = challenge.code_delivery.as_ref();
            delivery.and_then(|delivery| delivery.resend_time)
        };
        let same = old.method() == challenge.method()
            && (challenge.method() != Method::Sms || sent(old) == sent(&challenge));
        waiting.challenge = challenge;
        if same {
            return Ok(());
        }
        waiting.entry.clear();
        screen.say("")?;
        self.show_waiting(screen)
    }

    fn show_waiting(&mut self, screen: &mut Screen) -> Result<(), DemoError> {
        let Some(waiting) = &self.waiting else {
            return Ok(());
        };
        let challenge = &waiting.challenge;
        let mut words = sentences::waiting(challenge);
        if challenge.method() == Method::Push && !challenge.number_to_match.is_empty() {
            let number = screen.paint().bold(&challenge.number_to_match);
            words = format!("{words} Number: {number}");
        }
        screen.say(&format!("The page: {words}"))?;
        match challenge.method() {
            Method::Totp => self.show_app(screen)?,
            Method::RecoveryCode => self.show_sheet(screen)?,
            _ => {}
        }
        self.menu(screen)
    }

    /// Whether a text with a code has come that the page knows nothing of yet.
    pub(super) fn is_behind_text(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.challenge.method() == Method::Push)
    }

    /// What the authenticator app shows now.
    pub(super) fn show_app(&self, screen: &mut Screen) -> Result<(), DemoError> {
        let now = system_clock()();
        let (step, left) = (step_at(now), left_at(now).as_secs() + 1);
        let code = self.ways.app.code(step);
        let line = if step <= self.ways.used_step {
            format!("The authenticator app shows {code}, used already; another code in {left} s.")
        } else {
            let code = screen.paint().bold(&code);
            format!("The authenticator app shows {code}, for {left} s more.")
        };
        Ok(screen.say(&line)?)
    }

    fn show_sheet(&self, screen: &mut Screen) -> Result<(), DemoError> {
        let line = match self.ways.sheet.first() {
            Some(code) => format!(
                "The sheet of paper says {}, and {} more.",
                screen.paint().bold(code),
                self.ways.sheet.len() - 1
            ),
            None => "All codes on the sheet of paper are crossed out.".to_owned(),
        };
        Ok(screen.say(&line)?)
    }

    /// Until the authenticator app has another code, if somebody is looking.
    pub(super) async fn app_turns(&self) {
        let waiting = self.waiting.as_ref();
        match waiting.map(|waiting| waiting.challenge.method()) {
            Some(Method::Totp) => {
                let left = left_at(system_clock()());
                tokio::time::sleep(left + AFTER_TURN).await;
            }
            _ => std::future::pending().await,
        }
    }

    /// A sign-in got on.
    pub(super) async fn heard(
        &mut self,
        challenge: Challenge,
        screen: &mut Screen,
    ) -> Result<(), DemoError> {
        if challenge.state() == ChallengeState::Pending {
            return self.changed(challenge, screen);
        }
        let paint = screen.paint();
        let words = match sentences::ended(&challenge) {
            (true, words) => paint.green(words),
            (false, words) => paint.red(words),
        };
        let reason = challenge.reason().as_str_name();
        screen.say(&format!("The page: {words} ({reason})"))?;
        let receipt = self.idp.check_receipt(&challenge).await?;
        screen.say(&format!("The receipt holds: {}", proof(&receipt)))?;
        let ended =
            |waiting: &mut Waiting| waiting.challenge.challenge_id == challenge.challenge_id;
        if let Some(waiting) = self.waiting.take_if(ended) {
            if challenge.state() == ChallengeState::Approved {
                self.cross_out(challenge.method(), &waiting.submitted);
            }
            self.menu(screen)?;
        }
        Ok(())
    }

    /// What was used can't be used again.
    fn cross_out(&mut self, method: Method, code: &str) {
        match method {
            Method::RecoveryCode => {
                let bare = |code: &str| code.replace(['-', ' '], "").to_ascii_uppercase();
                self.ways.sheet.retain(|one| bare(one) != bare(code));
            }
            Method::Totp => {
                let now = step_at(system_clock()());
                let mut near = now.saturating_sub(2)..=now + 1;
                let step = near.find(|step| self.ways.app.code(*step) == code);
                self.ways.used_step = step.unwrap_or(now);
            }
            _ => {}
        }
    }
}

/// Who vouches for what.
fn proof(receipt: &Receipt) -> String {
    let claims = &receipt.claims;
    let by = match &receipt.response {
        Some(_) => "signed by the broker and by the phone".to_owned(),
        None if !claims.authenticator_id.is_empty() => format!(
            "signed by the broker, for a code (method: {}, amr: {})",
            claims.method,
            claims.amr.join(" ")
        ),
        None => "signed by the broker; no phone answered".to_owned(),
    };
    format!("{}, {by}.", claims.decision)
}

/// Passes on what becomes of a sign-in until it is decided.
async fn follow(idp: IdentityProvider, challenge_id: String, news: mpsc::Sender<News>) {
    let mut changes = match idp.watch(&challenge_id).await {
        Ok(changes) => changes,
        Err(error) => return drop(news.send(Err(error)).await),
    };
    loop {
        let next = match changes.message().await {
            Ok(Some(response)) => response
                .challenge
                .ok_or_else(|| DemoError::missing("challenge")),
            Ok(None) => return,
            Err(status) => Err(DemoError::call("WatchChallenge")(status)),
        };
        let last = next.is_err();
        // The user may have left meanwhile.
        if news.send(next).await.is_err() || last {
            return;
        }
    }
}
