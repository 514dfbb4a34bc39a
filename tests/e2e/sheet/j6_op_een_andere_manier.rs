//! 6. "Lukt het niet? Meld u op een andere manier aan."

use countersign_proto::v1::Method;
use countersign_tests::{
    codes::{App, STEP, wrong},
    sheet::{Page, Sheet, TOM, seconden},
};

use super::{AANGEMELD, GOEDGEKEURD, MELDING, SMS, zonder_nummer};

const APP_CODE: &str = "Voer de code van uw authenticator-app in.";
const HERSTELCODE: &str = "Voer een van uw herstelcodes in.";

/// The code of the step before this one: this one's is still to be used.
async fn authenticator_app(blad: &Sheet, pagina: &mut Page) -> App {
    let before = blad.world.broker.now_ms() - STEP * 1000;
    pagina.kiest_authenticator_app(|app| app.code(before)).await
}

#[tokio::test]
async fn tom_meldt_zich_op_een_andere_manier_aan_en_weer_terug() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (_, mut sms) = blad.met_nummer().await;
    let (mut pagina, mut toestel) = blad.met_app().await;
    let app = authenticator_app(&blad, &mut pagina).await;
    let papier = pagina.drukt_herstelcodes_af().await;

    // Van de melding naar een sms, naar de app, naar het papier en weer terug.
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    toestel.wordt_wakker().await;
    pagina.kiest(Method::Sms).await;
    pagina.toont(SMS);
    let code = sms.code().await;
    pagina.kiest(Method::Sms).await;
    pagina.toont("Nu even niet. Probeer het over 30 s opnieuw.");
    pagina.kiest(Method::Totp).await;
    pagina.toont(APP_CODE);
    blad.herstart().await;
    pagina
        .typt(&wrong(&app.code(blad.world.broker.now_ms())))
        .await;
    pagina.toont("De code klopt niet. Pogingen over: 4.");
    pagina.kiest(Method::RecoveryCode).await;
    pagina.toont(HERSTELCODE);
    pagina.kiest(Method::Push).await;
    pagina.toont(MELDING);
    tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(""));
    pagina.toont(GOEDGEKEURD);
    // De sms van daarnet opent niets meer.
    pagina.typt(&code).await;
    pagina.toont("Deze aanmelding is voorbij. Meld u opnieuw aan.");

    // Elk van de manieren volstaat; de vraag verdwijnt dan van het toestel.
    for (manier, venster) in [
        (Method::Sms, SMS),
        (Method::Totp, APP_CODE),
        (Method::RecoveryCode, HERSTELCODE),
    ] {
        blad.verstrijkt(seconden(60));
        pagina.meldt_aan().await;
        toestel.wordt_wakker().await;
        pagina.kiest(manier).await;
        pagina.toont(venster);
        let code = match manier {
            Method::Sms => sms.code().await,
            Method::Totp => app.code(blad.world.broker.now_ms()),
            _ => papier[0].to_lowercase().replace('-', " "),
        };
        blad.herstart().await;
        pagina.typt(&code).await;
        pagina.toont(AANGEMELD);
        toestel.vraag_verdwijnt().await;
    }
    assert!(
        pagina
            .methoden()
            .await
            .contains(&"9 herstelcodes".to_owned())
    );

    // Geweigerd is geweigerd: dan komt er even geen sms.
    blad.verstrijkt(seconden(60));
    pagina.meldt_aan().await;
    toestel.wordt_wakker().await;
    tokio::join!(pagina.gaat_verder(), toestel.drukt_op("WEIGEREN"));
    pagina.toont("De aanmelding is op uw toestel geweigerd.");
    pagina.kiest(Method::Sms).await;
    pagina.toont("Deze aanmelding is voorbij. Meld u opnieuw aan.");
    pagina.meldt_aan().await;
    pagina.kiest(Method::Sms).await;
    pagina.toont("Nu even niet. Probeer het over 60 s opnieuw.");
}

#[tokio::test]
async fn vanzelf_een_sms_als_het_toestel_zwijgt_of_onbereikbaar_is() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (_, mut sms) = blad.met_nummer().await;
    let (mut pagina, mut toestel) = blad.met_app().await;

    // Het toestel ligt in een andere kamer.
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    toestel.wordt_wakker().await;
    blad.verstrijkt(seconden(15));
    blad.herstart().await;
    tokio::join!(pagina.gaat_verder(), async {
        blad.verstrijkt(seconden(15));
    });
    pagina.toont(SMS);
    let code = sms.code().await;
    blad.herstart().await;
    pagina.typt(&code).await;
    pagina.toont(AANGEMELD);
    toestel.vraag_verdwijnt().await;

    // Of Tom vindt het toch nog: dan telt dat, en de code niet meer.
    pagina.meldt_aan().await;
    toestel.wordt_wakker().await;
    blad.verstrijkt(seconden(30));
    pagina.gaat_verder().await;
    pagina.toont(SMS);
    let code = sms.code().await;
    toestel.drukt_op("GOEDKEUREN").await;
    toestel.zegt("Aanmelding goedgekeurd.");
    pagina.gaat_verder().await;
    pagina.toont(GOEDGEKEURD);
    pagina.typt(&code).await;
    pagina.toont("Deze aanmelding is voorbij. Meld u opnieuw aan.");

    // De app is van het toestel gewist: meteen een sms, zonder wachten.
    blad.verstrijkt(seconden(60));
    blad.world.gateways.devices().uninstall(&toestel.token);
    pagina.meldt_aan().await;
    pagina.gaat_verder().await;
    pagina.toont(SMS);
    let code = sms.code().await;
    pagina.typt(&code).await;
    pagina.toont(AANGEMELD);

    // En zonder nummer hoort Tom dat meteen.
    pagina
        .verwijdert(countersign_tests::sheet::NUMMER_GEMASKEERD)
        .await;
    blad.verstrijkt(seconden(60));
    let mut pagina = blad.pagina(TOM);
    pagina.meldt_aan().await;
    pagina.toont("We kunnen uw toestel niet bereiken. Meld u op een andere manier aan.");
}
