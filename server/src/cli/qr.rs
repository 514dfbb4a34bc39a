//! A QR code in a terminal.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2, types::QrError};

/// Black on bright white (ECMA-48 SGR 30 and the common 107), whatever the
/// terminal's own colours: a code in reverse can't be scanned by every phone.
const COLOURS: &str = "\u{1b}[30;107m";
const RESET: &str = "\u{1b}[0m";

/// `text` as a QR code of half blocks, two modules high per line, with the
/// quiet zone of four modules (ISO/IEC 18004). Without `colours` the light
/// modules are drawn, which fits a dark terminal.
pub(super) fn render(text: &str, colours: bool) -> Result<String, QrError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    let mut renderer = code.render::<Dense1x2>();
    renderer.quiet_zone(true);
    if !colours {
        renderer
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark);
        return Ok(format!("{}\n", renderer.build()));
    }
    let lines = renderer.build();
    Ok(lines
        .lines()
        .map(|line| format!("{COLOURS}{line}{RESET}\n"))
        .collect())
}
