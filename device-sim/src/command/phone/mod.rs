//! `device-sim phone`: one phone in the terminal, answered by a person.

mod arguments;
mod in_hand;
mod registration;

pub use arguments::{Algorithm, PhoneArgs, PushEnvironmentArg, PushGateway};
pub(crate) use in_hand::InHand;

use crate::fetch::FetchError;
use crate::phone::{PhoneError, Road};
use crate::prompt::{Text, Texts, plain_text};
use crate::terminal::{Keys, Screen};

/// Why the phone could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PhoneCommandError {
    /// The arguments don't fit together.
    #[error("{0}")]
    Usage(String),
    /// The phone or its broker.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// The emulators' control page.
    #[error("push gateways: {0}")]
    Gateways(#[from] FetchError),
    /// A file or the terminal.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The broker does not know the device any more.
    #[error("this phone is not registered any more")]
    Removed,
}

/// Registers a phone, or takes up a saved one, and lets the user answer until
/// they leave.
///
/// # Errors
/// [`PhoneCommandError`].
pub async fn run(args: PhoneArgs) -> Result<(), PhoneCommandError> {
    let phone = registration::registered(&args).await?;
    let road = registration::road(&args, &phone).await?;
    if let Some(state) = &args.state {
        phone.save(state)?;
    }
    let keys = Keys::open();
    let mut screen = Screen::stdout(keys.is_terminal());
    let language = args.language.as_deref().unwrap_or(phone.language());
    let texts = Texts::for_language(language);
    let account = plain_text(phone.user_id());
    let organisation = plain_text(phone.organisation());
    let arguments = [
        ("account", account.as_str()),
        ("organisation", &organisation),
    ];
    screen.say(&texts.with(Text::Enrolled, &arguments))?;
    let quit = if keys.is_terminal() { "q" } else { "Ctrl-C" };
    screen.say(&texts.with(Text::Waiting, &[("key", quit)]))?;
    let result = in_hand::until_left(InHand::new(&phone, road, language), keys, &mut screen).await;
    if let Some(state) = &args.state {
        // Keys of the broker learned meanwhile.
        phone.save(state)?;
    }
    result
}

impl Road {
    fn through(control: &str, token: String) -> Self {
        Self::Pushes {
            control: control.trim_end_matches('/').to_owned(),
            token,
        }
    }
}
