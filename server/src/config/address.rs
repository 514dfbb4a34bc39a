//! Addresses in the configuration.

use http::Uri;

/// Checks a base address: `http` or `https`, a host, perhaps a port, no more.
pub(super) fn base_address(text: &str) -> Result<String, String> {
    const WANTED: &str = "must be an address such as https://approve.example.com:7700";
    let uri: Uri = text.parse().map_err(|_| WANTED.to_owned())?;
    let scheme = uri.scheme_str();
    if scheme != Some("http") && scheme != Some("https") {
        return Err(WANTED.to_owned());
    }
    // What stands before an @ can be a password: it is not repeated.
    if uri
        .authority()
        .is_none_or(|host| host.as_str().contains('@'))
    {
        return Err(format!("{WANTED}, without a user name"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(format!("{WANTED}, without a path"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether `url` names the machine itself.
pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Refuses an address at which other machines would be spoken to unencrypted,
/// unless `allowed`, which `flag` makes it.
pub(crate) fn check_plaintext(url: &str, allowed: bool, flag: &str) -> Result<(), String> {
    if url.starts_with("https://") || is_loopback(url) || allowed {
        return Ok(());
    }
    Err(format!(
        "must begin with https:// beyond loopback, unless {flag} is set"
    ))
}
