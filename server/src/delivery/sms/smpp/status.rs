//! What `command_status` means (SMPP 3.4, section 5.1.3).

use rusmpp::CommandStatus;

use crate::delivery::breaker::Verdict;
use crate::delivery::sms::reply::{Answer, Reply};

/// As text: the name and the number.
pub(super) fn reason(status: CommandStatus) -> String {
    let number = u32::from(status);
    match status {
        CommandStatus::Other(_) => format!("smpp status 0x{number:x}"),
        named => format!("smpp status 0x{number:x} {named:?}"),
    }
}

/// Of a `submit_sm` that was refused.
pub(super) fn of_submit(status: CommandStatus) -> Answer {
    use CommandStatus as S;
    let reason = reason(status);
    match status {
        S::EsmeRinvdstadr => Answer::new(Reply::Rejected { reason }, Verdict::Healthy),
        // Our sender, or what our account may do.
        S::EsmeRinvsrcadr
        | S::EsmeRinvsrcton
        | S::EsmeRinvsrcnpi
        | S::EsmeRsertypunauth
        | S::EsmeRprohibited
        | S::EsmeRsertypdenied => {
            Answer::new(Reply::CredentialRejected { reason }, Verdict::Healthy)
        }
        S::EsmeRthrottled
        | S::EsmeRmsgqful
        | S::EsmeRsyserr
        | S::EsmeRsubmitfail
        | S::EsmeRinvbndsts
        | S::EsmeRxTAppn
        | S::EsmeRsertypunavail
        | S::EsmeRunknownerr => Answer::new(Reply::not_taken(reason), Verdict::Failure),
        // Refused here; another gateway may know better.
        _ => Answer::new(Reply::not_taken(reason), Verdict::Healthy),
    }
}

/// Whether a bind was refused for our credentials.
pub(super) fn is_credential(status: CommandStatus) -> bool {
    use CommandStatus as S;
    matches!(
        status,
        S::EsmeRbindfail | S::EsmeRinvpaswd | S::EsmeRinvsysid | S::EsmeRinvsystyp
    )
}
