//! `countersign user`

use countersign_proto::v1::{
    Authenticator, GetUserRequest, LockReason, LockUserRequest, ResetUserRequest,
    SetUserEnrollmentRequest, UnlockUserRequest, User, admin_service_client::AdminServiceClient,
    authenticator::Kind,
};
use serde_json::{Value, json};

use super::{
    arguments::user::{UserAction, UserCommand},
    confirm::confirm,
    device::platform,
    failure::Failure,
    output::{Output, printable, table},
    policy::tenant_id,
    remote,
    tenant::{incomplete, time},
};

const RESET: &str = "Reset";

pub(super) async fn run(command: UserCommand, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(&command.admin).await?;
    let tenant_id = tenant_id(&mut client, command.tenant).await?;
    let (user, done) = match command.action {
        UserAction::Show { user: user_id } => {
            let request = GetUserRequest { tenant_id, user_id };
            (client.get_user(request).await?.into_inner().user, None)
        }
        UserAction::Lock { user: user_id } => {
            let request = LockUserRequest { tenant_id, user_id };
            let answer = client.lock_user(request).await?.into_inner();
            (answer.user, Some("Locked"))
        }
        UserAction::Unlock { user: user_id } => {
            let request = UnlockUserRequest { tenant_id, user_id };
            let answer = client.unlock_user(request).await?.into_inner();
            (answer.user, Some("Unlocked"))
        }
        UserAction::Enlist { user: user_id } => {
            let user = set_listed(&mut client, tenant_id, user_id, true).await?;
            (user, Some("Enlisted"))
        }
        UserAction::Delist { user: user_id } => {
            let user = set_listed(&mut client, tenant_id, user_id, false).await?;
            (user, Some("Delisted"))
        }
        UserAction::Reset { user: user_id, yes } => {
            confirm(
                yes,
                &format!("Take everything away that {user_id} can answer with?"),
            )?;
            let request = ResetUserRequest { tenant_id, user_id };
            let answer = client.reset_user(request).await?.into_inner();
            (answer.user, Some(RESET))
        }
    };
    let user = user.ok_or_else(incomplete)?;
    out.show(&to_json(&user), || match done {
        // Another spelling is another user.
        Some(done) if user.authenticators.is_empty() && done != RESET => format!(
            "{done} {}. Nothing is registered for this user: is the id spelled as in the directory?",
            printable(&user.user_id)
        ),
        Some(done) => format!("{done} {}", printable(&user.user_id)),
        None => describe(&user),
    })?;
    Ok(())
}

async fn set_listed(
    client: &mut AdminServiceClient<remote::Connection>,
    tenant_id: String,
    user_id: String,
    listed: bool,
) -> Result<Option<User>, Failure> {
    let request = SetUserEnrollmentRequest {
        tenant_id,
        user_id,
        listed,
    };
    let answer = client.set_user_enrollment(request).await?;
    Ok(answer.into_inner().user)
}

fn reason(reason: LockReason) -> &'static str {
    match reason {
        LockReason::TooManyFailures => "too many failures",
        LockReason::FraudReported => "fraud reported",
        LockReason::Operator => "operator",
        LockReason::Unspecified => "unspecified",
    }
}

/// What it is, and what tells it from another of its kind.
fn kind(authenticator: &Authenticator) -> (&'static str, String) {
    let unconfirmed = |confirmed: bool| if confirmed { "" } else { " (not confirmed)" };
    match &authenticator.kind {
        Some(Kind::Device(device)) => (
            "device",
            format!("{} ({})", device.display_name, platform(device)),
        ),
        Some(Kind::PhoneNumber(phone)) => (
            "phone-number",
            format!("{}{}", phone.masked_number, unconfirmed(phone.confirmed)),
        ),
        Some(Kind::TotpApp(app)) => ("totp-app", unconfirmed(app.confirmed).trim().to_owned()),
        Some(Kind::RecoveryCodes(codes)) => ("recovery-codes", format!("{} left", codes.remaining)),
        None => ("unknown", String::new()),
    }
}

fn to_json(user: &User) -> Value {
    let text = |time: Option<prost_types::Timestamp>| time.map(|time| time.to_string());
    let authenticators: Vec<_> = user
        .authenticators
        .iter()
        .map(|one| {
            let (kind, name) = kind(one);
            json!({
                "authenticator_id": one.authenticator_id,
                "kind": kind,
                "name": name,
                "create_time": text(one.create_time),
                "last_used_time": text(one.last_used_time),
            })
        })
        .collect();
    json!({
        "user_id": user.user_id,
        "lock": user.lock.as_ref().map(|lock| json!({
            "lock_time": text(lock.lock_time),
            "reason": reason(lock.reason()).replace(' ', "-"),
        })),
        "failures": user.failures,
        "next_guess_time": text(user.next_guess_time),
        "next_code_time": text(user.next_code_time),
        "prompts": user.prompts,
        "listed": user.listed,
        "snoozes": user.snoozes,
        "authenticators": authenticators,
    })
}

fn describe(user: &User) -> String {
    let lock = user.lock.as_ref().map_or_else(
        || "no".to_owned(),
        |lock| format!("since {}: {}", time(lock.lock_time), reason(lock.reason())),
    );
    let mut text = table(
        ["PROPERTY", "VALUE"],
        &[
            ["user".to_owned(), user.user_id.clone()],
            ["locked".to_owned(), lock],
            ["failures in a row".to_owned(), user.failures.to_string()],
            ["next guess from".to_owned(), time(user.next_guess_time)],
            ["next code from".to_owned(), time(user.next_code_time)],
            [
                "prompts since approval".to_owned(),
                user.prompts.to_string(),
            ],
            [
                "listed".to_owned(),
                if user.listed { "yes" } else { "no" }.to_owned(),
            ],
            ["enrolment put off".to_owned(), user.snoozes.to_string()],
        ],
    );
    let rows: Vec<_> = user
        .authenticators
        .iter()
        .map(|one| {
            let (kind, name) = kind(one);
            [
                one.authenticator_id.clone(),
                kind.to_owned(),
                name,
                time(one.create_time),
                time(one.last_used_time),
            ]
        })
        .collect();
    text.push('\n');
    let heading = [
        "AUTHENTICATOR ID",
        "KIND",
        "NAME",
        "REGISTERED",
        "LAST USED",
    ];
    text.push_str(&table(heading, &rows));
    text
}
