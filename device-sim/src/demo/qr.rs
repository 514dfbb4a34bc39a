//! A QR code in the terminal.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// `text` as a QR code, two modules per character, dark on light as scanners
/// expect it; none when it is too long for one.
pub(super) fn qr(text: &str, colour: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, qrcode::EcLevel::L).ok()?;
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    if !colour {
        return Some(drawn);
    }
    let lines = drawn.lines();
    let lines: Vec<_> = lines
        .map(|line| format!("\u{1b}[97;40m{line}\u{1b}[0m"))
        .collect();
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::qr;

    #[test]
    fn a_ticket_fits_a_terminal_of_80_columns() {
        let uri = crate::phone::EnrollmentUri {
            broker: "https://approve.eagle-it.example:8443".to_owned(),
            ticket: "0123456789ABCDEFGHJKMNPQRS".to_owned(),
            key_digest: [0xA5; 32],
        };
        let drawn = qr(&uri.to_string(), false).unwrap();
        let widest = drawn.lines().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= 80);
        assert!(drawn.lines().count() <= 40);
        assert!(qr(&"x".repeat(5000), false).is_none());
    }
}
