//! Every field of every request, as the broker describes them, with values
//! that it can't have.
//!
//! A serialized message followed by another is the two merged, and of a field
//! that comes twice the last counts (protobuf, "Encoding"): so a good request
//! followed by one bad field is that request with the field spoilt.

use countersign_proto::{signing::Purpose, v1};
use countersign_tests::{
    contract::{Contract, Field},
    field,
    rpcs::{Caller, allowed, imported, known},
    sign_in,
    two_tenants::TwoTenants,
    wire::{Answer, Wire, bearer, frame},
};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_types::field_descriptor_proto::Type;
use tonic::Code;

use super::{complete, rpcs};

/// A value that stands in for the real one.
#[derive(Clone, Debug)]
enum Spoilt {
    Bytes(Vec<u8>),
    Number(u64),
}

fn encode(tag: u32, value: &Spoilt) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Spoilt::Bytes(bytes) => {
            encode_key(tag, WireType::LengthDelimited, &mut out);
            encode_varint(bytes.len() as u64, &mut out);
            out.extend_from_slice(bytes);
        }
        Spoilt::Number(number) => {
            encode_key(tag, WireType::Varint, &mut out);
            encode_varint(*number, &mut out);
        }
    }
    out
}

/// `value` at the end of `tags`. A detail line that is spoilt in one half has
/// the other.
fn at(field: &Field, value: &Spoilt) -> Vec<u8> {
    let (last, outer) = field.tags.split_last().unwrap();
    let mut inner = encode(*last, value);
    if field.path.starts_with("context.details[0].") {
        let line = v1::Detail {
            label: "Amount".into(),
            value: "EUR 1".into(),
        };
        inner = [line.encode_to_vec(), inner].concat();
    }
    for tag in outer.iter().rev() {
        inner = encode(*tag, &Spoilt::Bytes(inner));
    }
    inner
}

/// What a field of this kind must survive.
fn spoilt(field: &Field, longest: usize) -> Vec<(&'static str, Spoilt)> {
    let bytes = |bytes: &[u8]| Spoilt::Bytes(bytes.to_vec());
    let text = |text: &str| Spoilt::Bytes(text.into());
    let negative = |number: i64| Spoilt::Number(number.cast_unsigned());
    let time = |seconds: i64, nanos: i32| {
        Spoilt::Bytes(prost_types::Duration { seconds, nanos }.encode_to_vec())
    };
    match field.kind {
        Type::String => {
            let mut values = vec![
                ("empty", text("")),
                ("too long", text(&"x".repeat(longest))),
                ("control", text("a\u{7}b")),
                ("line break", text("a\nb")),
                ("text direction", text("a\u{202e}b")),
                ("no UTF-8", bytes(&[0xff, 0xfe])),
            ];
            let names_one = field.path.ends_with("_id") || field.path == "page_token";
            let is_uuid = !field.path.ends_with("user_id")
                && !field.path.ends_with("app_id")
                && !field.path.ends_with("api_key_id");
            if names_one && is_uuid {
                values.extend([
                    ("no UUID", text("00000000-0000-0000-0000-00000000000g")),
                    ("no hyphens", text("019b76da74a07c12902f1f2f3f4f5f6f")),
                    ("braces", text("{019b76da-74a0-7c12-902f-1f2f3f4f5f6f}")),
                    (
                        "a URN",
                        text("urn:uuid:019b76da-74a0-7c12-902f-1f2f3f4f5f6f"),
                    ),
                ]);
            }
            values
        }
        Type::Bytes => vec![
            ("empty", bytes(&[])),
            ("one byte", bytes(&[7])),
            ("too long", bytes(&vec![7; longest])),
        ],
        Type::Enum => vec![
            ("unspecified", Spoilt::Number(0)),
            ("unknown", Spoilt::Number(99)),
            ("negative", negative(-1)),
        ],
        Type::Uint32 | Type::Uint64 => vec![
            ("one", Spoilt::Number(1)),
            ("huge", Spoilt::Number(u32::MAX.into())),
        ],
        Type::Int32 => vec![
            ("negative", negative(-1)),
            ("huge", Spoilt::Number(0x7fff_ffff)),
        ],
        Type::Bool => vec![("true", Spoilt::Number(1))],
        Type::Message if field.type_name == "google.protobuf.FieldMask" => {
            let mask = |paths: &[&str]| {
                let paths = paths.iter().map(|path| (*path).to_owned()).collect();
                Spoilt::Bytes(prost_types::FieldMask { paths }.encode_to_vec())
            };
            vec![
                ("names nothing", mask(&[""])),
                ("names what is not there", mask(&["browser_days", "colour"])),
            ]
        }
        Type::Message if field.type_name.starts_with("google.protobuf.") => vec![
            ("negative", time(-1, 0)),
            ("huge", time(i64::MAX, 0)),
            ("least", time(i64::MIN, 0)),
            ("negative nanoseconds", time(0, -1)),
            ("too many nanoseconds", time(0, 2_000_000_000)),
        ],
        // Its fields are spoilt one by one.
        Type::Message => Vec::new(),
        other => panic!("{}: how is {other:?} spoilt?", field.path),
    }
}

/// What comes of it.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// `INVALID_ARGUMENT`, naming this field.
    Names(String),
    /// It is no message.
    Malformed,
    /// Another refusal.
    Refused(Code, &'static str),
    /// It is a value like any other.
    Fine,
}

/// All but these are refused with the field's own name.
fn wanted(method: &str, path: &str, case: &str) -> Wanted {
    use Wanted::{Fine, Malformed, Names, Refused};
    match (method, path, case) {
        ("Enroll", inside, "no UTF-8") if inside.starts_with("body.") => Names("body".into()),
        ("Respond", inside, "no UTF-8") if inside.starts_with("response.body.") => {
            Names("response.body".into())
        }
        (_, _, "no UTF-8") => Malformed,
        // What may be left out.
        ("CreateTenant" | "UpdatePolicy", field, "unspecified" | "true")
            if field == "preset" || field.starts_with("policy.") =>
        {
            Fine
        }
        (
            "CreateTenant" | "UpdatePolicy",
            "policy.enrollment.max_snoozes"
            | "policy.codes.max_wrong"
            | "policy.codes.max_sends"
            | "policy.sms.per_number_hour"
            | "policy.sms.per_number_day"
            | "policy.sms.per_range_hour"
            | "policy.sms.per_tenant_day"
            | "policy.fatigue.budget"
            | "policy.lockout.free_failures"
            | "policy.browser_days",
            "one",
        )
        // Said by the broker only.
        | ("CreateTenant" | "UpdatePolicy", "policy.version", _)
        | ("CreateTenant" | "UpdatePolicy", "policy.sms.origin_host", "empty")
        | ("CreateTenant", "country", "empty")
        | ("ListPolicyVersions", "before_version", _)
        | ("ListTenants" | "ListAuditEntries", "page_token", "empty")
        | ("ListAuditEntries" | "WatchAudit" | "ExportAudit", "tenant_id", "empty")
        | ("ListAuditEntries", "action" | "object" | "user_id", "empty")
        | ("WatchAudit" | "WatchEvents", "resume_token", "empty")
        | ("Subscribe" | "ListPendingChallenges", "last_notice", _)
        | ("CreateApiKey", "display_name", "empty")
        | ("ListApiKeys", "tenant_id", "empty")
        | (
            "CreateChallenge",
            "request_id"
            | "device_id"
            | "context.client_address"
            | "context.location"
            | "context.user_agent"
            | "context.binding_message"
            | "context.details[0].value",
            "empty",
        )
        | ("CreateChallenge" | "SendCode", "method", "unspecified")
        | ("WaitChallenge", "known_method", "unspecified")
        | ("AddPhone", "language", "empty")
        | ("AddTotp", "account_name", "empty")
        | (
            "Enroll",
            "body.display_name" | "body.language" | "body.app_version" | "body.encryption_key",
            "empty",
        )
        | ("Enroll", "body.key_protection" | "body.push.environment", "unspecified")
        | ("Respond", "response.body.number" | "response.body.locale", "empty")
        | ("Respond", "response.body.user_verification", "unspecified")
        | ("UpdatePushToken", "push.environment", "unspecified")
        | (
            "ImportDevices",
            "devices[0].display_name"
            | "devices[0].language"
            | "devices[0].app_version"
            | "devices[0].encryption_key",
            "empty",
        )
        | (
            "ImportDevices",
            "devices[0].key_protection" | "devices[0].push.environment",
            "unspecified",
        ) => Fine,
        // The browser chose it, not the caller: what is no token is as none.
        ("CreateChallenge" | "GetSignInOptions", "browser_token", _)
        | ("CreateChallenge", "remember_browser", _)
        | ("SetUserEnrollment", "listed", _) => Fine,
        // The browser chose it, not the caller: it is cut and cleaned.
        ("CreateChallenge", "context.user_agent", _) => Fine,
        ("UpdatePolicy", "expected_version", _) => {
            Refused(Code::FailedPrecondition, "VERSION_CHANGED")
        }
        // A key is named as it is shown, and what is not shown does not exist.
        ("RevokeApiKey", "api_key_id", case) if case != "empty" => {
            Refused(Code::NotFound, "NOT_FOUND")
        }
        // One answer to every code that opens nothing.
        ("Enroll", "body.ticket", _) => Refused(Code::PermissionDenied, "TICKET_REFUSED"),
        ("Enroll", "signature", _) => Refused(Code::Unauthenticated, "BAD_SIGNATURE"),
        ("Enroll", "body.enroll_time", "huge")
        | ("Respond", "response.body.respond_time", "huge") => {
            Refused(Code::FailedPrecondition, "CLOCK_SKEW")
        }
        _ => Names(path.to_owned()),
    }
}

/// The fields of a request, with those of the message that a phone signs.
fn fields(contract: &Contract, input: &str) -> Vec<(Field, Option<&'static str>)> {
    let mut all: Vec<_> = contract
        .fields(input)
        .into_iter()
        .map(|field| (field, None))
        .collect();
    let (inside, prefix) = match input {
        "countersign.v1.EnrollRequest" => ("countersign.v1.EnrollmentBody", "body."),
        "countersign.v1.RespondRequest" => ("countersign.v1.ResponseBody", "response.body."),
        _ => return all,
    };
    for mut field in contract.fields(inside) {
        field.path = format!("{prefix}{}", field.path);
        all.push((field, Some(prefix)));
    }
    all
}

/// The good request with one field spoilt.
fn request(
    world: &TwoTenants,
    path: &str,
    field: &Field,
    signed: Option<&str>,
    value: &Spoilt,
) -> Vec<u8> {
    match signed {
        // What comes after a list is one more of it: this one must be whole.
        None if field.path.starts_with("devices[0].") => {
            let inside = Field {
                tags: field.tags[1..].to_vec(),
                ..field.clone()
            };
            let whole = imported(&world.own.imported).encode_to_vec();
            let device = [whole, at(&inside, value)].concat();
            let tenant_id = world.own.tenant.id.clone();
            let list = v1::ImportDevicesRequest {
                tenant_id,
                devices: Vec::new(),
            };
            let device = encode(field.tags[0], &Spoilt::Bytes(device));
            [list.encode_to_vec(), device].concat()
        }
        None => [known(world, path).unwrap().1, at(field, value)].concat(),
        Some("body.") => {
            let (body, key) = world.own.registration(&world.broker);
            let body: bytes::Bytes = [body.encode_to_vec(), at(field, value)].concat().into();
            let signature = key.sign(Purpose::Enroll, &body).unwrap();
            v1::EnrollRequest { body, signature }.encode_to_vec()
        }
        Some(_) => {
            let body: bytes::Bytes = [world.own.approval().encode_to_vec(), at(field, value)]
                .concat()
                .into();
            let signature = world
                .own
                .phone
                .key()
                .sign(Purpose::Response, &body)
                .unwrap();
            let response = Some(v1::SignedResponse { body, signature });
            v1::RespondRequest { response }.encode_to_vec()
        }
    }
}

#[tokio::test]
async fn every_field_of_every_request() {
    let mut world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let (contract, mut rpcs) = rpcs(&world).await;
    // What is fit to be a policy is in force from then on.
    rpcs.sort_by_key(|rpc| rpc.path.ends_with("/UpdatePolicy"));
    let mut before = world.everything().await;
    let mut tried = 0;
    for rpc in rpcs {
        let path = rpc.path.as_str();
        let method = path.rsplit('/').next().unwrap();
        for (field, signed) in fields(&contract, &rpc.input) {
            // Longer than any field may be, and inside a signed body short
            // enough for the body itself.
            let longest = match signed {
                None => 9000,
                Some("body.") => 1500,
                Some(_) => 400,
            };
            for (case, value) in spoilt(&field, longest) {
                tried += 1;
                let what = format!("{method}: {} {case}", field.path);
                let message = request(&world, path, &field, signed, &value);
                let caller = known(&world, path).unwrap().0;
                let headers = match caller {
                    // So that what is wrong is never who asks.
                    Caller::Admin => bearer(&world.broker.admin_key),
                    caller => allowed(&world, caller, path, &message),
                };
                let answer = wire.call(path, &headers, frame(&message)).await;
                let came = match answer {
                    Answer::Message(_) => Wanted::Fine,
                    Answer::Ended(status) => match (status.code(), complete(&status)) {
                        (Code::InvalidArgument, reason) if reason == "MALFORMED_REQUEST" => {
                            Wanted::Malformed
                        }
                        (Code::InvalidArgument, _) => {
                            Wanted::Names(countersign_tests::field(&status))
                        }
                        (code, reason) => Wanted::Refused(code, reason.leak()),
                    },
                };
                assert_eq!(came, wanted(method, &field.path, case), "{what}");
                if came == Wanted::Fine {
                    world.own.renew(&world.broker).await;
                    before = world.everything().await;
                }
            }
            assert_eq!(world.everything().await, before, "{method}: {}", field.path);
        }
    }
    assert!(tried > 250, "{tried}");
}

/// A browser can name itself as it likes: the prompt is none the worse for it.
#[tokio::test]
async fn what_the_browser_says_of_itself() {
    let world = TwoTenants::start().await;
    let mut approvals = world.broker.approvals(&world.own.tenant);
    let mut request = sign_in("tom");
    let odd = format!("Mozilla\u{202e}/5.0\n\0{}é", "x".repeat(495));
    request.context.as_mut().unwrap().user_agent = odd;
    let made = approvals.create_challenge(request).await.unwrap();
    let signed = made.into_inner().challenge.unwrap().signed_challenge;
    let shown = world.own.phone.verify(signed.unwrap()).unwrap();
    let user_agent = shown.body().context.clone().unwrap().user_agent;
    // 511 bytes: the last letter has two.
    let wanted = format!("Mozilla /5.0  {}", "x".repeat(495));
    assert_eq!(user_agent, wanted);
}

/// What is left out, and what is too much only together.
#[tokio::test]
async fn missing_and_too_many() {
    let world = TwoTenants::start().await;
    let before = world.everything().await;
    let mut approvals = world.broker.approvals(&world.own.tenant);
    let mut devices = world.broker.devices();
    let line = |label: &str, value: &str| v1::Detail {
        label: label.into(),
        value: value.into(),
    };
    let context = sign_in("tom").context.unwrap();
    for (wrong, named) in [
        (None, "context"),
        (
            Some(v1::SignInContext {
                details: vec![line("a", "b"); 9],
                ..context.clone()
            }),
            "context.details",
        ),
        (
            Some(v1::SignInContext {
                details: vec![line(&"a".repeat(60), &"b".repeat(256)); 8],
                ..context.clone()
            }),
            "context",
        ),
        (
            Some(v1::SignInContext {
                details: vec![line("a", "b"), line("c", "\u{2066}")],
                ..context.clone()
            }),
            "context.details[1].value",
        ),
        (
            Some(v1::SignInContext {
                client_address: "198.51.100.300".into(),
                ..context
            }),
            "context.client_address",
        ),
    ] {
        let request = v1::CreateChallengeRequest {
            context: wrong,
            ..sign_in("tom")
        };
        let refused = approvals.create_challenge(request).await.unwrap_err();
        assert_eq!(
            (field(&refused).as_str(), complete(&refused).as_str()),
            (named, "INVALID_FIELD")
        );
    }
    let request = v1::CreateChallengeRequest {
        method: v1::Method::RememberedBrowser.into(),
        ..sign_in("tom")
    };
    let refused = approvals.create_challenge(request).await.unwrap_err();
    assert_eq!(field(&refused), "method");
    let refused = devices
        .respond(v1::RespondRequest { response: None })
        .await
        .unwrap_err();
    assert_eq!(
        (field(&refused).as_str(), complete(&refused).as_str()),
        ("response", "INVALID_FIELD")
    );
    for (number, respond_time, named) in [
        (
            "12a",
            world.own.approval().respond_time,
            "response.body.number",
        ),
        (
            "１２",
            world.own.approval().respond_time,
            "response.body.number",
        ),
        (
            "1234567",
            world.own.approval().respond_time,
            "response.body.number",
        ),
        ("", None, "response.body.respond_time"),
    ] {
        let body = v1::ResponseBody {
            number: number.into(),
            respond_time,
            ..world.own.approval()
        };
        let response = Some(world.own.phone.sign_response(&body).unwrap());
        let refused = devices
            .respond(v1::RespondRequest { response })
            .await
            .unwrap_err();
        assert_eq!(field(&refused), named);
    }
    assert_eq!(world.everything().await, before);
}
