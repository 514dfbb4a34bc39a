//! `countersign enroll`

use std::time::Duration;

use countersign_proto::v1::{
    CreateEnrollmentRequest, CreateEnrollmentResponse, EnrollmentState, WaitEnrollmentRequest,
    WaitEnrollmentResponse, authenticator::Kind,
    enrollment_service_client::EnrollmentServiceClient,
};
use serde_json::json;
use tonic::Code;

use super::{
    arguments::EnrollCommand,
    device::platform,
    failure::Failure,
    output::{Output, printable},
    qr,
    remote::{self, Connection},
    tenant::{duration, time},
};

/// How long one call waits for the phone.
const WAIT: Duration = Duration::from_secs(30);
/// The pause before asking a broker again that was not there.
const PAUSE: Duration = Duration::from_secs(1);
/// How often in a row it may not be there: it may be restarting.
const ABSENCES: u32 = 15;

pub(super) async fn run(command: EnrollCommand, out: &Output) -> Result<(), Failure> {
    let file = command.api_key_file.as_deref();
    let bearer = remote::bearer(file, "--api-key-file", "COUNTERSIGN_API_KEY")?;
    let connection = remote::connect(&command.remote, bearer).await?;
    let mut client = EnrollmentServiceClient::new(connection);
    let request = CreateEnrollmentRequest {
        user_id: command.user.clone(),
        ttl: command.ttl.map(duration).transpose()?,
    };
    let ticket = client.create_enrollment(request).await?.into_inner();
    show_ticket(&command, &ticket, out)?;
    if command.no_wait {
        return Ok(());
    }
    let end = wait(&mut client, ticket.enrollment_id).await?;
    show_end(&command.user, &end, out)
}

fn show_ticket(
    command: &EnrollCommand,
    ticket: &CreateEnrollmentResponse,
    out: &Output,
) -> Result<(), Failure> {
    let value = json!({
        "enrollment_id": ticket.enrollment_id,
        "enrollment_uri": ticket.enrollment_uri,
        "manual_code": ticket.manual_code,
        "expire_time": ticket.expire_time.map(|time| time.to_string()),
    });
    // https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let code = qr::render(&ticket.enrollment_uri, colours)
        .map_err(|error| Failure::failed(format!("cannot draw the QR code: {error}")))?;
    out.show(&value, || {
        let waiting = if command.no_wait {
            ""
        } else {
            "\nWaiting for the phone (Ctrl-C stops waiting; the code stays good)..."
        };
        format!(
            "Scan this with the phone of {}:\n\n{code}\n\
             Can't scan? Type this code: {}\n\
             On the phone itself, open: {}\n\
             Good until {}.{waiting}",
            printable(&command.user),
            printable(&ticket.manual_code),
            printable(&ticket.enrollment_uri),
            time(ticket.expire_time),
        )
    })?;
    Ok(())
}

/// Asks until the ticket is no longer open.
async fn wait(
    client: &mut EnrollmentServiceClient<Connection>,
    enrollment_id: String,
) -> Result<WaitEnrollmentResponse, Failure> {
    let mut absences = 0;
    loop {
        let request = WaitEnrollmentRequest {
            enrollment_id: enrollment_id.clone(),
            timeout: Some(duration(WAIT)?),
        };
        match client.wait_enrollment(request).await {
            Ok(answer) => {
                absences = 0;
                let answer = answer.into_inner();
                if answer.state() != EnrollmentState::Open {
                    return Ok(answer);
                }
            }
            Err(status) if status.code() == Code::Unavailable && absences < ABSENCES => {
                absences += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
}

fn show_end(user: &str, end: &WaitEnrollmentResponse, out: &Output) -> Result<(), Failure> {
    match end.state() {
        EnrollmentState::Redeemed => {}
        EnrollmentState::Expired => {
            return Err(Failure::failed("nobody used the code before it expired"));
        }
        EnrollmentState::Replaced => {
            return Err(Failure::failed("a newer code for this user took its place"));
        }
        EnrollmentState::Locked => {
            return Err(Failure::failed(
                "the code is void: too many wrong codes were tried",
            ));
        }
        EnrollmentState::Open | EnrollmentState::Unspecified => {
            return Err(Failure::failed("the broker does not say how it ended"));
        }
    }
    let authenticator = end.authenticator.as_ref();
    let kind = authenticator.and_then(|found| found.kind.as_ref());
    let device = kind.and_then(|kind| match kind {
        Kind::Device(device) => Some(device),
        Kind::PhoneNumber(_) | Kind::TotpApp(_) | Kind::RecoveryCodes(_) => None,
    });
    let value = json!({
        "state": "redeemed",
        "authenticator_id": authenticator.map(|found| &found.authenticator_id),
        "device": device.map(|device| json!({
            "display_name": device.display_name,
            "platform": platform(device),
            "has_push_token": device.has_push_token,
        })),
    });
    out.show(&value, || {
        let id = authenticator.map_or("", |found| found.authenticator_id.as_str());
        let name = device.map_or_else(
            || "A phone".to_owned(),
            |device| {
                format!(
                    "\"{}\" ({})",
                    printable(&device.display_name),
                    platform(device)
                )
            },
        );
        format!(
            "{name} is registered for {}: authenticator id {id}",
            printable(user)
        )
    })?;
    Ok(())
}
