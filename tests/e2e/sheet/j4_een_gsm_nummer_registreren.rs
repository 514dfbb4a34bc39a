//! 4. "Een gsm-nummer registreren."

use countersign_tests::{
    codes::wrong,
    sheet::{NUMMER, NUMMER_GEMASKEERD, Sheet, TOM, seconden},
};

use super::{AANGEMELD, MEER_INFORMATIE, SMS, standaard};

const NIEUW_NUMMER: &str = "+32470123441";

#[tokio::test]
async fn tom_registreert_zijn_gsm_nummer_en_later_een_ander() {
    let mut blad = Sheet::begint(standaard()).await;
    let mut pagina = blad.pagina(TOM);
    let mut sms = blad.sms(NUMMER);
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);

    // Geen nummer, geen gsm, of niet in een land waar Eagle IT naar sms't.
    for fout in [
        "0470123440",
        "+32 47012",
        "+3291234567",
        "+33612345678",
        "Tom",
    ] {
        pagina.kiest_telefoon(fout).await;
        pagina.toont("Dit is geen gsm-nummer waar we een sms naar kunnen sturen.");
    }
    pagina.kiest_telefoon("+32 (470) 12.34-40").await;
    pagina.toont(SMS);
    let code = sms.code().await;

    // Het telt pas als het bevestigd is.
    assert_eq!(
        pagina.methoden().await,
        [format!("{NUMMER_GEMASKEERD} (niet bevestigd)")]
    );
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);
    pagina.bevestigt_telefoon(&wrong(&code)).await;
    pagina.toont("De code klopt niet. Pogingen over: 4.");
    blad.herstart().await;
    pagina.bevestigt_telefoon(&code).await;
    pagina.toont("Het nummer +XX XXXXXXX40 is toegevoegd.");
    pagina.kiest_telefoon(NUMMER).await;
    pagina.toont("Dit nummer hebt u al.");
    pagina.meldt_aan().await;
    pagina.toont(SMS);
    let code = sms.code().await;
    pagina.typt(&code).await;
    pagina.toont(AANGEMELD);

    // Een ander nummer is een andere methode; het oude nummer hoort ervan.
    blad.verstrijkt(seconden(60));
    let mut nieuwe_sms = blad.sms(NIEUW_NUMMER);
    pagina.kiest_telefoon(NIEUW_NUMMER).await;
    pagina.toont("We hebben een sms gestuurd naar +XX XXXXXXX41. Voer de code in.");
    let code = nieuwe_sms.code().await;
    pagina.bevestigt_telefoon(&code).await;
    pagina.toont("Het nummer +XX XXXXXXX41 is toegevoegd.");
    sms.meldt(
        "Eagle IT BVBA: het nummer +XX XXXXXXX41 ontvangt voortaan uw aanmeldcodes. \
         Was u dit niet? Neem contact op met uw helpdesk.",
    )
    .await;
    pagina.verwijdert(NUMMER_GEMASKEERD).await;
    let afscheid = "Eagle IT BVBA: het nummer +XX XXXXXXX40 ontvangt geen aanmeldcodes meer. \
                    Was u dit niet? Neem contact op met uw helpdesk.";
    sms.meldt(afscheid).await;
    nieuwe_sms.meldt(afscheid).await;
    assert_eq!(pagina.methoden().await, ["+XX XXXXXXX41"]);
    pagina.meldt_aan().await;
    pagina.toont("We hebben een sms gestuurd naar +XX XXXXXXX41. Voer de code in.");
    let code = nieuwe_sms.code().await;
    pagina.typt(&code).await;
    pagina.toont(AANGEMELD);
    sms.zwijgt();

    // Voluit staat een nummer nergens meer, ook niet bij de helpdesk.
    let gezien = blad.helpdesk_ziet(TOM).await;
    assert!(gezien.contains("+XX XXXXXXX41"), "{gezien}");
    assert!(!gezien.contains("470123"), "{gezien}");
}
