//! A phone from the flags: newly registered, or saved earlier.

use countersign_proto::v1::{Gateway, PushEnvironment, PushRegistration};

use super::PhoneCommandError;
use super::arguments::PhoneArgs;
use crate::fetch::FetchError;
use crate::phone::{EnrollOptions, Phone, Road, Ticket, renew_push, system_clock};

/// The phone that the flags describe.
pub(super) async fn registered(args: &PhoneArgs) -> Result<Phone, PhoneCommandError> {
    let usage = |text: &str| Err(PhoneCommandError::Usage(text.to_owned()));
    match (&args.enroll, &args.state) {
        (None, None) => usage("--enroll registers a phone, --state takes up a saved one"),
        (None, Some(state)) => Ok(Phone::load(state, system_clock())?),
        (Some(_), Some(state)) if state.exists() => Err(PhoneCommandError::Usage(format!(
            "{} already holds a phone: leave --enroll out, or name another file",
            state.display()
        ))),
        (Some(_), Some(state)) if !writable(state) => Err(PhoneCommandError::Usage(format!(
            "{} cannot be written",
            state.display()
        ))),
        (Some(code), _) => enroll(args, code).await,
    }
}

/// A ticket works once: better to know before it is spent.
fn writable(state: &std::path::Path) -> bool {
    let directory = state
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    tempfile::tempfile_in(directory.unwrap_or(".".as_ref())).is_ok()
}

async fn enroll(args: &PhoneArgs, code: &str) -> Result<Phone, PhoneCommandError> {
    let mut options = EnrollOptions::new(ticket(args, code)?);
    options.algorithm = args.algorithm.into();
    options.display_name.clone_from(&args.name);
    options.language = args.language.clone().unwrap_or_else(machine_language);
    if let Some(file) = &args.ca_file {
        let pem = std::fs::read_to_string(file).map_err(|error| {
            PhoneCommandError::Usage(format!("--ca-file {}: {error}", file.display()))
        })?;
        options.ca_pem = Some(pem);
    }
    if args.gateways.is_some() {
        options.platform = args.gateway.platform();
        options.push = Some(new_push(args).await?);
    }
    Ok(Phone::enroll(options).await?)
}

fn ticket(args: &PhoneArgs, code: &str) -> Result<Ticket, PhoneCommandError> {
    if code.trim().contains("://") {
        let uri = code.parse()?;
        if args.broker.is_some() {
            return Err(PhoneCommandError::Usage(
                "the QR code names the broker: leave --broker out".to_owned(),
            ));
        }
        return Ok(Ticket::Uri(uri));
    }
    let broker = args.broker.clone().ok_or_else(|| {
        PhoneCommandError::Usage("a typed code needs --broker with the broker's address".to_owned())
    })?;
    Ok(Ticket::Code {
        broker,
        code: code.to_owned(),
    })
}

/// How this phone hears of challenges. A token that the emulators do not know
/// any more is replaced, as an operating system would.
pub(super) async fn road(args: &PhoneArgs, phone: &Phone) -> Result<Road, PhoneCommandError> {
    let Some(control) = &args.gateways else {
        return Ok(Road::Subscribe);
    };
    if let Some(push) = phone.push() {
        let road = Road::through(control, push.token);
        match crate::fetch::get_lines(&pushes(&road)).await {
            Ok(_) => return Ok(road),
            Err(FetchError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let push = new_push(args).await?;
    phone.update_push_token(Some(push.clone())).await?;
    Ok(Road::through(control, push.token))
}

fn pushes(road: &Road) -> String {
    match road {
        Road::Subscribe => String::new(),
        Road::Pushes { control, token } => format!("{control}/devices/{token}/pushes"),
    }
}

async fn new_push(args: &PhoneArgs) -> Result<PushRegistration, PhoneCommandError> {
    let control = args.gateways.as_deref().unwrap_or_default();
    let app_id = args
        .app_id
        .clone()
        .unwrap_or_else(|| args.gateway.example_app().to_owned());
    let app = PushRegistration {
        gateway: Gateway::from(args.gateway).into(),
        app_id,
        environment: PushEnvironment::from(args.environment).into(),
        token: String::new(),
    };
    Ok(renew_push(control, &app).await?)
}

/// POSIX: `LC_ALL` before `LC_MESSAGES` before `LANG`; `nl_BE.UTF-8` is `nl-BE`.
fn machine_language() -> String {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default();
    let tag = locale.split(['.', '@']).next().unwrap_or_default();
    if tag.is_empty() || tag == "C" || tag == "POSIX" {
        return "en".to_owned();
    }
    tag.replace('_', "-")
}
