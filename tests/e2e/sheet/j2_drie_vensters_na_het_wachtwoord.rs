//! 2. "Na uw wachtwoord krijgt u een van drie vensters."

use countersign_tests::sheet::{ANN, NUMMER, Sheet, TOESTEL, TOM, Toestel};

use super::{AANGEMELD, GOEDGEKEURD, MEER_INFORMATIE, MELDING, SMS, VERGRENDELD, zonder_nummer};

#[tokio::test]
async fn na_het_wachtwoord_een_van_drie_vensters() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let mut pagina = blad.pagina(TOM);

    // Nog niets geregistreerd. Voor iemand die niet bestaat ziet het er net zo uit.
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);
    let mut niemand = blad.pagina("niemand@example.be");
    niemand.meldt_aan().await;
    niemand.toont(MEER_INFORMATIE);

    // Een gsm-nummer is bekend.
    let mut sms = blad.sms(NUMMER);
    pagina.kiest_telefoon(NUMMER).await;
    let code = sms.code().await;
    pagina.bevestigt_telefoon(&code).await;
    pagina.meldt_aan().await;
    pagina.toont(SMS);
    let code = sms.code().await;
    blad.herstart().await;
    pagina.typt(&code).await;
    pagina.toont(AANGEMELD);

    // Een app is geregistreerd: die gaat voor.
    let ticket = pagina.kiest_mobiele_app().await;
    let mut toestel = Toestel::scant(&blad, TOESTEL, &ticket).await.unwrap();
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(""));
    pagina.toont(GOEDGEKEURD);

    // En wie vergrendeld is, ziet alleen dat.
    blad.helpdesk_vergrendelt(TOM).await;
    pagina.meldt_aan().await;
    pagina.toont(VERGRENDELD);
    toestel.zwijgt().await;
    let mut anns = blad.pagina(ANN);
    anns.meldt_aan().await;
    anns.toont(MEER_INFORMATIE);
    blad.helpdesk_ontgrendelt(TOM).await;
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
}
