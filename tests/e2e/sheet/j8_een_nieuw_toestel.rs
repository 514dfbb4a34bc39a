//! 8. "Een nieuw toestel, een nieuw nummer, een verloren toestel."

use countersign_proto::v1::Method;
use countersign_tests::sheet::{
    NUMMER, NUMMER_GEMASKEERD, Page, Sheet, TOESTEL, TOM, Toestel, seconden,
};

use super::{AANGEMELD, GOEDGEKEURD, MEER_INFORMATIE, MELDING, SMS, zonder_nummer};

const NIEUW: &str = "Nieuwe telefoon van Tom";

async fn nieuw_toestel(blad: &Sheet, pagina: &mut Page) -> Toestel {
    // Methods are listed by age.
    blad.verstrijkt(seconden(1));
    let ticket = pagina.kiest_mobiele_app().await;
    let toestel = Toestel::scant(blad, NIEUW, &ticket).await.unwrap();
    pagina.wacht_op_app(&ticket).await;
    pagina.toont("De app is toegevoegd: Nieuwe telefoon van Tom.");
    toestel
}

/// The new phone does what the old one did.
async fn werkt(pagina: &mut Page, toestel: &mut Toestel) {
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(""));
    pagina.toont(GOEDGEKEURD);
}

#[tokio::test]
async fn met_het_oude_toestel_nog_in_de_hand() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (mut pagina, mut oud) = blad.met_app().await;
    werkt(&mut pagina, &mut oud).await;
    let mut nieuw = nieuw_toestel(&blad, &mut pagina).await;
    oud.meldt(
        "Het toestel Nieuwe telefoon van Tom kan nu uw aanmeldingen goedkeuren. \
         Was u dit niet? Bel uw helpdesk.",
    )
    .await;

    // Beide worden gevraagd; dan gaat het oude eruit, met de vraag op zijn scherm.
    pagina.meldt_aan().await;
    oud.wordt_wakker().await;
    nieuw.wordt_wakker().await;
    pagina.verwijdert(TOESTEL).await;
    oud.is_uitgeschakeld().await;
    blad.herstart().await;
    oud.is_uitgeschakeld().await;
    tokio::join!(pagina.gaat_verder(), nieuw.drukt_op("GOEDKEUREN"));
    nieuw.zegt("Aanmelding goedgekeurd.");
    pagina.toont(GOEDGEKEURD);
    nieuw
        .meldt(
            "Het toestel Telefoon van Tom kan uw aanmeldingen niet langer goedkeuren. \
             Was u dit niet? Bel uw helpdesk.",
        )
        .await;
    assert_eq!(pagina.methoden().await, [NIEUW]);
    werkt(&mut pagina, &mut nieuw).await;
}

#[tokio::test]
async fn met_een_code_per_sms() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (_, mut sms) = blad.met_nummer().await;
    let (mut pagina, mut oud) = blad.met_app().await;
    sms.meldt(
        "Eagle IT BVBA: het toestel Telefoon van Tom kan nu uw aanmeldingen goedkeuren. \
         Was u dit niet? Neem contact op met uw helpdesk.",
    )
    .await;
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    oud.wordt_wakker().await;
    pagina.kiest(Method::Sms).await;
    pagina.toont(SMS);
    let code = sms.code().await;
    blad.herstart().await;
    pagina.typt(&code).await;
    pagina.toont(AANGEMELD);
    pagina.verwijdert(TOESTEL).await;
    oud.is_uitgeschakeld().await;
    sms.meldt(
        "Eagle IT BVBA: het toestel Telefoon van Tom kan uw aanmeldingen niet langer \
         goedkeuren. Was u dit niet? Neem contact op met uw helpdesk.",
    )
    .await;
    let mut nieuw = nieuw_toestel(&blad, &mut pagina).await;
    sms.meldt(
        "Eagle IT BVBA: het toestel Nieuwe telefoon van Tom kan nu uw aanmeldingen \
         goedkeuren. Was u dit niet? Neem contact op met uw helpdesk.",
    )
    .await;
    werkt(&mut pagina, &mut nieuw).await;
    assert_eq!(pagina.methoden().await, [NUMMER_GEMASKEERD, NIEUW]);
}

#[tokio::test]
async fn met_een_herstelcode() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (mut pagina, mut oud) = blad.met_app().await;
    let papier = pagina.drukt_herstelcodes_af().await;
    pagina.meldt_aan().await;
    oud.wordt_wakker().await;
    pagina.kiest(Method::RecoveryCode).await;
    pagina.toont("Voer een van uw herstelcodes in.");
    blad.herstart().await;
    pagina.typt(&papier[4]).await;
    pagina.toont(AANGEMELD);
    pagina.verwijdert(TOESTEL).await;
    oud.is_uitgeschakeld().await;

    // Zonder toestel blijft het papier over; dezelfde code telt geen twee keer.
    blad.verstrijkt(seconden(60));
    pagina.meldt_aan().await;
    pagina.toont("Voer een van uw herstelcodes in.");
    pagina.typt(&papier[4]).await;
    pagina.toont("De code klopt niet. Pogingen over: 4.");
    pagina.typt(&papier[5]).await;
    pagina.toont(AANGEMELD);
    let mut nieuw = nieuw_toestel(&blad, &mut pagina).await;
    werkt(&mut pagina, &mut nieuw).await;
    assert_eq!(pagina.methoden().await, ["8 herstelcodes", NIEUW]);
}

#[tokio::test]
async fn via_de_helpdesk() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (_, mut sms) = blad.met_nummer().await;
    let (mut pagina, mut oud) = blad.met_app().await;
    sms.leest().await;

    // Wie het toestel vond, heeft een vraag op het scherm; Tom belt de helpdesk.
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    oud.wordt_wakker().await;
    tokio::join!(pagina.gaat_verder(), blad.helpdesk_wist(TOM));
    pagina.toont("We kunnen uw toestel niet bereiken. Meld u op een andere manier aan.");
    oud.is_uitgeschakeld().await;
    sms.meldt(
        "Eagle IT BVBA: uw aanmeldmethoden zijn gewist. Registreer ze opnieuw. \
         Was u dit niet? Neem contact op met uw helpdesk.",
    )
    .await;
    blad.herstart().await;
    oud.is_uitgeschakeld().await;
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);
    assert!(pagina.methoden().await.is_empty());

    // Alles opnieuw, ook met hetzelfde nummer.
    let mut nieuw = nieuw_toestel(&blad, &mut pagina).await;
    werkt(&mut pagina, &mut nieuw).await;
    blad.verstrijkt(seconden(1));
    pagina.kiest_telefoon(NUMMER).await;
    pagina.toont(SMS);
    let code = sms.code().await;
    pagina.bevestigt_telefoon(&code).await;
    pagina.toont("Het nummer +XX XXXXXXX40 is toegevoegd.");
    assert_eq!(pagina.methoden().await, [NIEUW, NUMMER_GEMASKEERD]);
}

/// A question that only the old phone could have answered ends with it.
#[tokio::test]
async fn een_vraag_die_alleen_het_oude_toestel_kon_beantwoorden() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (mut pagina, mut oud) = blad.met_app().await;
    pagina.meldt_aan().await;
    oud.wordt_wakker().await;
    blad.herstart().await;
    let mut instellingen = blad.pagina(TOM);
    tokio::join!(pagina.gaat_verder(), instellingen.verwijdert(TOESTEL));
    pagina.toont("We kunnen uw toestel niet bereiken. Meld u op een andere manier aan.");
    oud.is_uitgeschakeld().await;
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);
}
