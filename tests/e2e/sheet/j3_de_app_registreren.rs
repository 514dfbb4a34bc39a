//! 3. "De app registreren."

use countersign_tests::sheet::{Sheet, TOESTEL, TOM, Toestel, seconden};

use super::{GOEDGEKEURD, MEER_INFORMATIE, MELDING, standaard};

const SCAN: &str = "Scan de QR-code met de app. Lukt dat niet? Typ de code over.";
const GEEN: &str = "TICKET_REFUSED";

/// The last character is another one: it finds the ticket and does not open it.
fn verkeerd(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..code.len() - 1])
}

#[tokio::test]
async fn tom_registreert_de_app() {
    let mut blad = Sheet::begint(standaard()).await;
    let mut pagina = blad.pagina(TOM);
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);

    // Tom kiest de mobiele app en scant; de pagina gaat vanzelf verder, ook al
    // is de server intussen herstart.
    let ticket = pagina.kiest_mobiele_app().await;
    pagina.toont(SCAN);
    blad.herstart().await;
    let (toestel, ()) = tokio::join!(
        Toestel::scant(&blad, TOESTEL, &ticket),
        pagina.wacht_op_app(&ticket),
    );
    let mut toestel = toestel.unwrap();
    toestel.zegt("Deze telefoon is geregistreerd voor tom.cool@example.be bij Eagle IT BVBA.");
    pagina.toont("De app is toegevoegd: Telefoon van Tom.");

    // Een eerste aanmelding om te proberen.
    pagina.meldt_aan().await;
    let nummer = pagina.nummer();
    pagina.toont(&format!("{MELDING} Typ daar het nummer {nummer}."));
    tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(&nummer));
    pagina.toont(GOEDGEKEURD);

    // Dezelfde QR-code werkt geen tweede keer.
    let nog_een = Toestel::scant(&blad, "Telefoon van een ander", &ticket).await;
    assert_eq!(nog_een.err().as_deref(), Some(GEEN));
    assert_eq!(pagina.methoden().await, [TOESTEL]);

    // Een tweede toestel: het eerste hoort ervan.
    let ticket = pagina.kiest_mobiele_app().await;
    Toestel::scant(&blad, "Tablet van Tom", &ticket)
        .await
        .unwrap();
    toestel
        .meldt(
            "Het toestel Tablet van Tom kan nu uw aanmeldingen goedkeuren. \
             Was u dit niet? Bel uw helpdesk.",
        )
        .await;
}

#[tokio::test]
async fn scannen_lukt_niet_dus_typt_tom_de_code() {
    let mut blad = Sheet::begint(standaard()).await;
    let (mut pagina, mut sms) = blad.met_nummer().await;

    // Tot er iets te verwarren valt: een O voor een 0, een I voor een 1.
    let ticket = loop {
        let ticket = pagina.kiest_mobiele_app().await;
        if ticket.code.contains('0') && ticket.code.contains('1') {
            break ticket;
        }
    };
    assert!(ticket.code.split('-').all(|group| group.len() == 4));
    for _ in 0..4 {
        let mis = Toestel::typt_code(&blad, TOESTEL, &verkeerd(&ticket.code)).await;
        assert_eq!(mis.err().as_deref(), Some(GEEN));
    }
    blad.herstart().await;
    let slordig = ticket.code.to_lowercase().replace('-', " ");
    let slordig = slordig.replace('0', "O").replace('1', "I");
    let toestel = Toestel::typt_code(&blad, TOESTEL, &slordig).await.unwrap();
    toestel.zegt("Deze telefoon is geregistreerd voor tom.cool@example.be bij Eagle IT BVBA.");
    pagina.wacht_op_app(&ticket).await;
    pagina.toont("De app is toegevoegd: Telefoon van Tom.");

    // Wie er al bij was, hoort ervan.
    sms.meldt(
        "Eagle IT BVBA: het toestel Telefoon van Tom kan nu uw aanmeldingen goedkeuren. \
         Was u dit niet? Neem contact op met uw helpdesk.",
    )
    .await;
    sms.zwijgt();
}

#[tokio::test]
async fn een_qr_code_is_maar_even_en_maar_een_keer_goed() {
    let mut blad = Sheet::begint(standaard()).await;
    let mut pagina = blad.pagina(TOM);

    // Vijf keer verkeerd getypt.
    let ticket = pagina.kiest_mobiele_app().await;
    for ronde in 0..5 {
        if ronde == 3 {
            blad.herstart().await;
        }
        let mis = Toestel::typt_code(&blad, TOESTEL, &verkeerd(&ticket.code)).await;
        assert_eq!(mis.err().as_deref(), Some(GEEN));
    }
    pagina.wacht_op_app(&ticket).await;
    pagina.toont("De code is te vaak verkeerd getypt.");
    let te_laat = Toestel::scant(&blad, TOESTEL, &ticket).await;
    assert_eq!(te_laat.err().as_deref(), Some(GEEN));

    // Tien minuten later.
    let ticket = pagina.kiest_mobiele_app().await;
    blad.verstrijkt(seconden(600));
    pagina.wacht_op_app(&ticket).await;
    pagina.toont("De QR-code is verlopen.");
    let te_laat = Toestel::scant(&blad, TOESTEL, &ticket).await;
    assert_eq!(te_laat.err().as_deref(), Some(GEEN));

    // Vervangen door een nieuwere.
    let ticket = pagina.kiest_mobiele_app().await;
    let nieuwer = pagina.kiest_mobiele_app().await;
    pagina.wacht_op_app(&ticket).await;
    pagina.toont("De QR-code is vervangen door een nieuwere.");
    let te_laat = Toestel::scant(&blad, TOESTEL, &ticket).await;
    assert_eq!(te_laat.err().as_deref(), Some(GEEN));
    Toestel::scant(&blad, TOESTEL, &nieuwer).await.unwrap();
    assert_eq!(pagina.methoden().await, [TOESTEL]);
}
