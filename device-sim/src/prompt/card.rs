//! The prompt, drawn.

use std::time::SystemTime;

use countersign_proto::v1::ChallengeBody;
use jiff::tz::TimeZone;

use super::frame::{Colour, Frame, Paint};
use super::{Dialog, Text, Texts, plain_text, width, wrap};
use crate::phone::VerifiedChallenge;

/// Widest column of labels.
const LABELS: usize = 18;
/// Lines that one value may take; the whole prompt has to stay in sight.
const VALUE_LINES: usize = 4;

/// The prompt as lines of text for a terminal of `columns` columns.
#[must_use]
pub fn card(
    challenge: &VerifiedChallenge,
    dialog: &Dialog,
    status: Option<&str>,
    texts: &Texts,
    zone: &TimeZone,
    columns: usize,
    paint: Paint,
) -> Vec<String> {
    let mut frame = Frame::new(columns, paint);
    let body = challenge.body();
    frame.top();
    frame.text(&plain_text(&body.organisation), Paint::dim);
    frame.text(&texts.get(Text::PromptTitle), Paint::bold);
    frame.empty();
    frame.table(&facts(body, texts, zone));
    frame.empty();
    if dialog.digits() > 0 {
        let blanks = dialog.digits().saturating_sub(dialog.typed().len()).min(8);
        let number = format!("{}{}", dialog.typed(), "_".repeat(blanks));
        frame.text(
            &format!("{} {number}", texts.get(Text::Number)),
            Paint::bold,
        );
        frame.empty();
    }
    let key = |key, label| format!("[{}] {}", texts.key(key), texts.get(label));
    frame.pair(
        (&key(Text::KeyDeny, Text::Deny), Paint::red),
        (&key(Text::KeyApprove, Text::Approve), Paint::green),
    );
    frame.text(&key(Text::KeyNotMe, Text::NotMe), Paint::dim);
    if let Some(status) = status {
        frame.empty();
        frame.text(status, Paint::bold);
    } else if dialog.number_missing() {
        frame.empty();
        let digits = dialog.digits().to_string();
        frame.text(
            &texts.with(Text::NumberFirst, &[("digits", &digits)]),
            Paint::red,
        );
    }
    frame.bottom();
    frame.lines
}

/// What the user judges by: label and value, made harmless.
fn facts(body: &ChallengeBody, texts: &Texts, zone: &TimeZone) -> Vec<(String, String)> {
    let context = body.context.clone().unwrap_or_default();
    let place = plain_text(&context.location);
    let address = plain_text(&context.client_address);
    let mut facts = vec![
        (texts.get(Text::LabelAccount), plain_text(&body.user_id)),
        (
            texts.get(Text::LabelApplication),
            plain_text(&context.application_name),
        ),
    ];
    if !place.is_empty() && !address.is_empty() {
        let both = [("place", place.as_str()), ("address", address.as_str())];
        facts.push((
            texts.get(Text::LabelPlace),
            texts.with(Text::PlaceAndAddress, &both),
        ));
    } else {
        facts.push((texts.get(Text::LabelPlace), place));
        facts.push((texts.get(Text::LabelAddress), address));
    }
    facts.push((texts.get(Text::LabelTime), moment(body, texts, zone)));
    for detail in &context.details {
        facts.push((plain_text(&detail.label), plain_text(&detail.value)));
    }
    facts.push((
        texts.get(Text::LabelMessage),
        plain_text(&context.binding_message),
    ));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn moment(body: &ChallengeBody, texts: &Texts, zone: &TimeZone) -> String {
    let time = body
        .create_time
        .as_ref()
        .and_then(|time| SystemTime::try_from(*time).ok())
        .and_then(|time| jiff::Timestamp::try_from(time).ok());
    let Some(time) = time else {
        return String::new();
    };
    let time = time.to_zoned(zone.clone());
    let part = |format: &str| time.strftime(format).to_string();
    texts.with(
        Text::Moment,
        &[
            ("day", &part("%d")),
            ("month", &part("%m")),
            ("year", &part("%Y")),
            ("clock", &part("%H:%M")),
        ],
    )
}

impl Frame {
    fn pair(&mut self, left: (&str, Colour), right: (&str, Colour)) {
        let plain = format!("{}    {}", left.0, right.0);
        if width(&plain) > self.inner {
            self.text(left.0, left.1);
            self.text(right.0, right.1);
            return;
        }
        let shown = format!(
            "{}    {}",
            left.1(self.paint, left.0),
            right.1(self.paint, right.0)
        );
        self.row(&plain, &shown);
    }

    fn table(&mut self, facts: &[(String, String)]) {
        let widest = facts.iter().map(|(label, _)| width(label)).max();
        let labels = widest.unwrap_or(0).min(LABELS).min(self.inner / 2);
        let values = self.inner.saturating_sub(labels + 2);
        for (label, value) in facts {
            let label = clipped(wrap(label, labels), VALUE_LINES);
            let value = clipped(wrap(value, values), VALUE_LINES);
            let mut value = value.into_iter();
            let mut label = label.into_iter();
            loop {
                let (left, right) = (label.next(), value.next());
                if left.is_none() && right.is_none() {
                    break;
                }
                let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
                let gap = " ".repeat(labels.saturating_sub(width(&left)) + 2);
                let shown = format!("{}{gap}{right}", self.paint.dim(&left));
                self.row(&format!("{left}{gap}{right}"), &shown);
            }
        }
    }
}

/// At most `limit` lines; the last says when there were more.
fn clipped(mut lines: Vec<String>, limit: usize) -> Vec<String> {
    if lines.len() > limit {
        lines.truncate(limit);
        if let Some(last) = lines.last_mut() {
            last.pop();
            last.push('…');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use countersign_proto::v1::{Detail, SignInContext};

    use super::*;
    use crate::prompt::frame::{NARROWEST, WIDEST};

    const PLAIN: Paint = Paint { colour: false };

    fn body() -> ChallengeBody {
        ChallengeBody {
            organisation: "Eagle IT BVBA".to_owned(),
            context: Some(SignInContext {
                application_name: "Webmail".to_owned(),
                client_address: "198.51.100.7".to_owned(),
                location: "Gent, België".to_owned(),
                user_agent: String::new(),
                binding_message: "K7-22".to_owned(),
                details: vec![Detail {
                    label: "Afdeling".to_owned(),
                    value: "Boekhouding".to_owned(),
                }],
            }),
            number_digits: 2,
            create_time: Some(prost_types::Timestamp {
                seconds: 1_795_442_580,
                nanos: 0,
            }),
            ..VerifiedChallenge::sample_body("c-1", 60)
        }
    }

    fn draw(body: ChallengeBody, dialog: &Dialog, columns: usize, paint: Paint) -> String {
        let texts = Texts::for_language("nl-BE");
        let challenge = VerifiedChallenge::sample(body);
        card(
            &challenge,
            dialog,
            None,
            &texts,
            &TimeZone::UTC,
            columns,
            paint,
        )
        .join("\n")
    }

    fn dialog() -> Dialog {
        Dialog::new(2, &Texts::for_language("nl"))
    }

    #[test]
    fn the_dutch_card() {
        let mut dialog = dialog();
        dialog.press('4');
        let expected = "\
╭────────────────────────────────────────────────────────╮
│ Eagle IT BVBA                                          │
│ Moet de aanmelding worden goedgekeurd?                 │
│                                                        │
│ Account     tom.cool@example.be                        │
│ Toepassing  Webmail                                    │
│ Plaats      Gent, België (198.51.100.7)                │
│ Tijd        23-11-2026 14:03                           │
│ Afdeling    Boekhouding                                │
│ Bericht     K7-22                                      │
│                                                        │
│ Typ het nummer van de aanmeldpagina: 4_                │
│                                                        │
│ [w] WEIGEREN    [g] GOEDKEUREN                         │
│ [n] Dat was ik niet                                    │
╰────────────────────────────────────────────────────────╯";
        assert_eq!(draw(body(), &dialog, 58, PLAIN), expected);
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let mut dialog = dialog();
        dialog.press('g');
        let coloured = draw(body(), &dialog, 58, Paint { colour: true });
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_ne!(plain, coloured);
        assert_eq!(plain, draw(body(), &dialog, 58, PLAIN));
        assert!(plain.contains("Typ eerst het nummer van 2 cijfers"));
    }

    #[test]
    fn hostile_content_stays_inside_the_frame() {
        let hostile = format!(
            "\u{1b}[2J\u{1b}[H\r\n│ {}",
            "漢字 very long \u{202E}".repeat(20)
        );
        let mut body = body();
        body.organisation.clone_from(&hostile);
        let context = body.context.as_mut().unwrap();
        for field in [
            &mut context.application_name,
            &mut context.location,
            &mut context.client_address,
            &mut context.binding_message,
        ] {
            field.clone_from(&hostile);
        }
        context.details = vec![Detail {
            label: hostile.clone(),
            value: hostile,
        }];
        for columns in [0, 24, 40, 58, 200] {
            let card = draw(body.clone(), &dialog(), columns, PLAIN);
            assert!(!card.contains(|c: char| c.is_control() && c != '\n'));
            assert!(!card.contains('\u{202E}'));
            let expected = columns.clamp(NARROWEST, WIDEST);
            for line in card.lines() {
                assert_eq!(width(line), expected, "{line}");
            }
        }
    }
}
