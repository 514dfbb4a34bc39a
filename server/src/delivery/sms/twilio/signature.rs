//! How Twilio signs its requests (Twilio, "Webhooks security", "Validating
//! signatures from Twilio"): HMAC-SHA1 under the auth token, over the address
//! as it was given to Twilio and, sorted by name, each name and value of the
//! form; in base64.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Whether `signature` is Twilio's for this request. Takes the same time
/// whatever matches.
pub(super) fn verify(
    auth_token: &str,
    url: &str,
    form: &[(String, String)],
    signature: &str,
) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    let mut parameters: Vec<_> = form.iter().collect();
    parameters.sort();
    parameters.dedup();
    // Twilio puts in or leaves out the scheme's own port as it sees fit.
    [Some(url.to_owned()), other_port(url)]
        .into_iter()
        .flatten()
        .any(|mut signed| {
            for (name, value) in &parameters {
                signed.push_str(name);
                signed.push_str(value);
            }
            hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
        })
}

/// `url` with the scheme's own port added if it has none, or left out.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'));
    match authority.strip_suffix(port) {
        Some(host) => Some(format!("{scheme}://{host}{path}")),
        None if has_port => None,
        None => Some(format!("{scheme}://{authority}{port}{path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    /// The example of Twilio's "Webhooks security".
    const TOKEN: &str = "12345";
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    const FORM: [(&str, &str); 5] = [
        ("To", "+18005551212"),
        ("Digits", "1234"),
        ("Caller", "+14158675309"),
        ("From", "+14158675309"),
        ("CallSid", "CA1234567890ABCDE"),
    ];

    #[test]
    fn twilios_own_example() {
        assert!(verify(TOKEN, URL, &form(&FORM), SIGNATURE));
    }

    #[test]
    fn anything_else_is_refused() {
        let mut less = form(&FORM);
        less.pop();
        let mut more = form(&FORM);
        more.extend(form(&[("a", "b")]));
        assert!(!verify("12346", URL, &form(&FORM), SIGNATURE));
        assert!(!verify(TOKEN, URL, &less, SIGNATURE));
        assert!(!verify(TOKEN, URL, &more, SIGNATURE));
        assert!(!verify(
            TOKEN,
            &URL.replace("foo=1", "foo=2"),
            &form(&FORM),
            SIGNATURE
        ));
        assert!(!verify(TOKEN, URL, &form(&FORM), ""));
        assert!(!verify(TOKEN, URL, &form(&FORM), "not base64"));
        assert!(!verify(TOKEN, URL, &form(&FORM), "AAAA"));
    }

    #[test]
    fn the_schemes_own_port_is_neither_here_nor_there() {
        let other = |url| other_port(url).unwrap_or_default();
        assert_eq!(other("https://a.b/c?d"), "https://a.b:443/c?d");
        assert_eq!(other("https://a.b:443/c"), "https://a.b/c");
        assert_eq!(other("http://[::1]/c"), "http://[::1]:80/c");
        assert_eq!(other("http://a:8080/c:9"), "");
        let with_port = URL.replace(".com/", ".com:443/");
        assert!(verify(TOKEN, &with_port, &form(&FORM), SIGNATURE));
    }
}
