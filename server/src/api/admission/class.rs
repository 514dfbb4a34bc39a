//! Which calls begin something, and which bring to an end what was begun.

/// What becomes of a call under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Health and reflection, with limits of their own (`auth.rs`).
    Open,
    /// Begins something, or only looks: refused first. Whatever is not known
    /// is here.
    New,
    /// Brings to an end what was let in (refusing it would waste what was
    /// done), or takes trust away, which must work under attack above all.
    /// Refused only when memory is at stake.
    Finishing,
}

/// The finishing calls of each service.
pub(super) const FINISHING: [(&str, &[&str]); 4] = [
    (
        "ApprovalService",
        &[
            "CancelChallenge",
            "GetChallenge",
            "VerifyCode",
            "WaitChallenge",
            "WatchChallenge",
            "WatchEvents",
        ],
    ),
    (
        "DeviceService",
        &[
            "AcknowledgeChallenge",
            "ListPendingChallenges",
            "Respond",
            "Subscribe",
            "Unenroll",
            "UpdatePushToken",
        ],
    ),
    (
        "EnrollmentService",
        &[
            "ConfirmPhone",
            "ConfirmTotp",
            "ForgetBrowsers",
            "RemoveAuthenticator",
            "WaitEnrollment",
        ],
    ),
    (
        "AdminService",
        &[
            "LockUser",
            "RemoveDevice",
            "ResetUser",
            "RevokeApiKey",
            "RotateSigningKey",
            "UnlockUser",
            "UpdatePolicy",
        ],
    ),
];

fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/countersign.v1.")?.split_once('/')
}

/// The class of a call, by its path.
pub(super) fn class(path: &str) -> Class {
    if path.starts_with("/grpc.") {
        return Class::Open;
    }
    let Some((service, method)) = split(path) else {
        return Class::New;
    };
    let finishing = FINISHING
        .iter()
        .any(|(of, methods)| *of == service && methods.contains(&method));
    if finishing {
        Class::Finishing
    } else {
        Class::New
    }
}

/// Whether it comes from a phone, which proves itself by its message.
pub(super) fn from_phone(path: &str) -> bool {
    split(path).is_some_and(|(service, _)| service == "DeviceService")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashSet;

    use countersign_proto::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Every name here is an rpc's: what is renamed can't fall back among the new
    /// work unnoticed.
    #[test]
    fn names_are_those_of_rpcs() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut rpcs = HashSet::new();
        for service in files.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                rpcs.insert((service.name(), method.name()));
            }
        }
        for (service, methods) in FINISHING {
            for method in methods {
                assert!(rpcs.contains(&(service, *method)), "{service}/{method}");
            }
        }
    }

    #[test]
    fn classes() {
        let cases = [
            (
                "/countersign.v1.ApprovalService/CreateChallenge",
                Class::New,
            ),
            ("/countersign.v1.ApprovalService/SendCode", Class::New),
            (
                "/countersign.v1.ApprovalService/WaitChallenge",
                Class::Finishing,
            ),
            ("/countersign.v1.DeviceService/Respond", Class::Finishing),
            ("/countersign.v1.DeviceService/Enroll", Class::New),
            ("/countersign.v1.AdminService/LockUser", Class::Finishing),
            ("/countersign.v1.AdminService/ListAuditEntries", Class::New),
            ("/countersign.v1.ApprovalService/Respond", Class::New),
            ("/countersign.v1.ApprovalService/Scan", Class::New),
            ("/wp-login.php", Class::New),
            ("/grpc.health.v1.Health/Check", Class::Open),
            ("", Class::New),
        ];
        for (path, expected) in cases {
            assert_eq!(class(path), expected, "{path}");
        }
    }
}
