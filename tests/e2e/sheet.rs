//! The how-to sheet, replayed: one story per journey, in Dutch, as the staff of
//! "Eagle IT BVBA" meet it. In the middle of each the broker is restarted, and
//! nobody notices.

mod j1_de_organisatie_schakelt_het_in;
mod j2_drie_vensters_na_het_wachtwoord;
mod j3_de_app_registreren;
mod j4_een_gsm_nummer_registreren;
mod j5_goedkeuren_of_weigeren;
mod j6_op_een_andere_manier;
mod j7_niet_meer_vragen;
mod j8_een_nieuw_toestel;

use countersign_proto::v1;

/// The standard rules as they are.
fn standaard() -> v1::TenantPolicy {
    v1::TenantPolicy::default()
}

/// The standard rules, without a number to type.
fn zonder_nummer() -> v1::TenantPolicy {
    v1::TenantPolicy {
        number_matching: v1::NumberMatching::Off.into(),
        ..standaard()
    }
}

const AANGEMELD: &str = "U bent aangemeld.";
const GOEDGEKEURD: &str = "Melding goedgekeurd. U bent aangemeld.";
const MELDING: &str =
    "Aanmelding goedkeuren. We hebben een melding naar uw mobiele toestel gestuurd.";
const SMS: &str = "We hebben een sms gestuurd naar +XX XXXXXXX40. Voer de code in.";
const MEER_INFORMATIE: &str = "Meer informatie vereist.
- Mobiele app (aanbevolen)
- Telefoon voor authenticatie
- Authenticator-app";
const VERGRENDELD: &str = "Uw account is vergrendeld. Neem contact op met uw helpdesk.";
