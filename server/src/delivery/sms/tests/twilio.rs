use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http_server::value;
use super::*;

pub(super) const ACCOUNT: &str = "AC0123456789";

pub(super) fn config(url: String, auth_token_file: PathBuf) -> TwilioConfig {
    TwilioConfig {
        account_sid: ACCOUNT.to_owned(),
        auth_token_file,
        from: Some("+3225550100".to_owned()),
        messaging_service_sid: None,
        url: Some(url),
        root_ca_file: None,
    }
}

fn rig(server: &Server) -> Rig {
    Rig::new(|secret| {
        let twilio = config(server.url.clone(), secret);
        vec![("tw", SmsGatewayKind::Twilio(twilio))]
    })
}

pub(super) fn taken() -> (u16, String) {
    let body = r#"{"sid":"SM1","status":"queued","error_code":null}"#;
    (201, body.to_owned())
}

fn refused(status: u16, code: u32) -> (u16, String) {
    let body = serde_json::json!({
        "code": code,
        "message": format!("The 'To' number {NUMBER} is not valid"),
        "status": status,
    });
    (status, body.to_string())
}

#[tokio::test]
async fn a_form_with_basic_authentication() {
    let server = Server::start(|_, _| taken()).await;
    let rig = rig(&server);
    assert_eq!(rig.send().await, accepted_by("tw"));
    let told = &server.told()[0];
    assert_eq!(told.method, Method::POST);
    assert_eq!(
        told.path_and_query,
        format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    );
    let credentials = STANDARD.encode(format!("{ACCOUNT}:{SECRET}"));
    assert_eq!(
        told.headers["authorization"],
        format!("Basic {credentials}")
    );
    let form = told.form();
    assert_eq!(value(&form, "To"), NUMBER);
    assert_eq!(value(&form, "From"), "+3225550100");
    assert_eq!(value(&form, "Body"), rig.text().body);
    assert_eq!(value(&form, "ValidityPeriod"), "300");
    assert_eq!(
        value(&form, "StatusCallback"),
        format!("{CALLBACK_URL}/sms/tw/status?reference=ref-1")
    );
}

#[tokio::test]
async fn answers_have_their_outcomes() {
    let table = [
        (refused(400, 21211), "rejected"),
        (refused(400, 21610), "rejected"),
        (refused(401, 20003), "credential_rejected"),
        (refused(400, 21606), "credential_rejected"),
        (refused(429, 20429), "retry_after"),
        (refused(500, 20500), "retry_after"),
        (refused(400, 12345), "retry_after"),
        ((503, "<html>".to_owned()), "retry_after"),
        ((401, String::new()), "credential_rejected"),
        ((200, "<html>log in</html>".to_owned()), "unknown"),
        ((201, r#"{"sid":"SM1","#.to_owned()), "unknown"),
        ((0, String::new()), "unknown"),
    ];
    for (answer, expected) in table {
        let shown = format!("{answer:?}");
        let server = Server::start(move |_, _| answer.clone()).await;
        let rig = rig(&server);
        let outcome = rig.send().await;
        assert_eq!(outcome.name(), expected, "{shown} {outcome:?}");
        assert!(!format!("{outcome:?}").contains("470123"), "{outcome:?}");
        let alarms = rig.gateways.alarms();
        assert_eq!(
            alarms.len(),
            usize::from(expected == "credential_rejected"),
            "{shown}"
        );
        if let Some(alarm) = alarms.first() {
            assert_eq!(
                (alarm.gateway.name(), alarm.credential.as_str()),
                ("tw", ACCOUNT)
            );
        }
    }
}

/// A callback as Twilio makes it.
fn callback(token: &str, path_and_query: &str, form: &[(&str, &str)]) -> Told {
    let mut signed = format!("{CALLBACK_URL}{path_and_query}");
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    for (name, value) in sorted {
        signed.push_str(name);
        signed.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let mut headers = no_headers();
    let form_type = "application/x-www-form-urlencoded; charset=utf-8";
    headers.insert("content-type", form_type.parse().unwrap());
    headers.insert("x-twilio-signature", signature.parse().unwrap());
    Told {
        method: Method::POST,
        path_and_query: path_and_query.to_owned(),
        headers,
        body: form::body(form).into_bytes(),
    }
}

const PATH: &str = "/sms/tw/status?reference=ref-1";

#[tokio::test]
async fn signed_callbacks_are_taken() {
    let server = Server::start(|_, _| taken()).await;
    let rig = rig(&server);
    for (status, code) in [
        ("queued", ""),
        ("sent", ""),
        ("delivered", ""),
        ("undelivered", "30005"),
    ] {
        let mut form = vec![
            ("MessageStatus", status),
            ("To", NUMBER),
            ("MessageSid", "SM1"),
        ];
        if !code.is_empty() {
            form.push(("ErrorCode", code));
        }
        assert_eq!(rig.callback("tw", &callback(SECRET, PATH, &form)), Ok(()));
    }
    let failed = TextState::Failed {
        reason: "undelivered: 30005 unknown destination handset".to_owned(),
    };
    assert_eq!(
        rig.states(),
        [TextState::Sent, TextState::Delivered, failed]
    );
}

#[tokio::test]
async fn forged_callbacks_are_not() {
    let server = Server::start(|_, _| taken()).await;
    let rig = rig(&server);
    let form = [("MessageStatus", "delivered"), ("MessageSid", "SM1")];
    let good = callback(SECRET, PATH, &form);
    let changed = |change: fn(&mut Told)| {
        let mut told = good.clone();
        change(&mut told);
        told
    };
    let forged = [
        callback("another token", PATH, &form),
        changed(|told| told.path_and_query = PATH.replace("ref-1", "ref-2")),
        changed(|told| told.body = b"MessageStatus=failed&MessageSid=SM1".to_vec()),
        changed(|told| told.body.extend(b"&ErrorCode=30005")),
        changed(|told| told.body.clear()),
        changed(|told| drop(told.headers.remove("x-twilio-signature"))),
        changed(|told| {
            let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap();
            told.headers.append("x-twilio-signature", other);
        }),
        changed(|told| {
            let json = "application/json".parse().unwrap();
            told.headers.insert("content-type", json);
        }),
        changed(|told| told.method = Method::GET),
    ];
    for (n, told) in forged.iter().enumerate() {
        let refused = rig.callback("tw", told);
        assert_eq!(refused, Err(CallbackRefused::Forged), "case {n}");
    }
    assert_eq!(rig.states(), []);
    let elsewhere = callback(SECRET, "/sms/tw/status", &form);
    assert_eq!(
        rig.callback("tw", &elsewhere),
        Err(CallbackRefused::Malformed)
    );
    let stateless = callback(SECRET, PATH, &[("MessageSid", "SM1")]);
    assert_eq!(
        rig.callback("tw", &stateless),
        Err(CallbackRefused::Malformed)
    );
    assert_eq!(rig.callback("tw", &good), Ok(()));
}
