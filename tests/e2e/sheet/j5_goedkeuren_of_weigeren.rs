//! 5. "Goedkeuren of weigeren."

use countersign_proto::v1;
use countersign_tests::{
    codes::wrong,
    sheet::{Sheet, TOM, Toestel, seconden},
};

use super::{GOEDGEKEURD, MELDING, VERGRENDELD, standaard, zonder_nummer};

#[tokio::test]
async fn tom_keurt_goed_of_weigert_of_was_het_niet() {
    let mut blad = Sheet::begint(v1::TenantPolicy {
        fatigue: Some(v1::FatiguePolicy {
            on_report: v1::OnReport::Lock.into(),
            ..v1::FatiguePolicy::default()
        }),
        ..standaard()
    })
    .await;
    let (mut pagina, mut toestel) = blad.met_app().await;

    pagina.meldt_aan().await;
    let nummer = pagina.nummer();
    pagina.toont(&format!("{MELDING} Typ daar het nummer {nummer}."));
    toestel.wordt_wakker().await;
    toestel.toont(
        "Eagle IT BVBA
Moet de aanmelding worden goedgekeurd?

Account     tom.cool@example.be
Toepassing  Webmail
Plaats      Gent, België (198.51.100.7)
Tijd        01-01-2026 01:00

Typ het nummer van de aanmeldpagina: __

[w] WEIGEREN    [g] GOEDKEUREN
[n] Dat was ik niet",
    );

    // Zonder het nummer gebeurt er niets.
    toestel.drukt_op("GOEDKEUREN").await;
    toestel.toont_ook("Typ eerst het nummer van 2 cijfers dat op de aanmeldpagina");
    blad.herstart().await;
    toestel.typt(&nummer);
    toestel.toont_ook(&format!("Typ het nummer van de aanmeldpagina: {nummer}"));
    tokio::join!(pagina.gaat_verder(), toestel.drukt_op("GOEDKEUREN"));
    toestel.zegt("Aanmelding goedgekeurd.");
    pagina.toont(GOEDGEKEURD);

    // Weigeren hoeft geen nummer.
    pagina.meldt_aan().await;
    toestel.wordt_wakker().await;
    tokio::join!(pagina.gaat_verder(), toestel.drukt_op("WEIGEREN"));
    toestel.zegt("Aanmelding geweigerd.");
    pagina.toont("De aanmelding is op uw toestel geweigerd.");

    // Een verkeerd nummer is er een te veel.
    pagina.meldt_aan().await;
    toestel.wordt_wakker().await;
    toestel.typt(&wrong(&pagina.nummer()));
    tokio::join!(pagina.gaat_verder(), toestel.drukt_op("GOEDKEUREN"));
    toestel.zegt("Dat was niet het nummer van de aanmeldpagina. De aanmelding is geweigerd.");
    pagina.toont("Op uw toestel is een verkeerd nummer getypt. De aanmelding is geweigerd.");

    // Wie niet antwoordt, komt er niet in.
    pagina.meldt_aan().await;
    toestel.wordt_wakker().await;
    blad.verstrijkt(seconden(60));
    pagina.gaat_verder().await;
    pagina.toont("We hebben geen antwoord gekregen.");
    toestel.vraag_verdwijnt().await;

    // Iemand anders heeft Toms wachtwoord.
    let mut vreemde = blad.pagina(TOM);
    vreemde.meldt_aan().await;
    toestel.wordt_wakker().await;
    tokio::join!(vreemde.gaat_verder(), toestel.drukt_op("Dat was ik niet"));
    toestel.zegt("Gemeld: dat was u niet. De aanmelding is geweigerd.");
    vreemde.toont("Op uw toestel is gemeld dat u dit niet was. De aanmelding is geweigerd.");
    vreemde.meldt_aan().await;
    vreemde.toont(VERGRENDELD);
    blad.herstart().await;
    pagina.meldt_aan().await;
    pagina.toont(VERGRENDELD);
    blad.helpdesk_ontgrendelt(TOM).await;
    pagina.meldt_aan().await;
    let nummer = pagina.nummer();
    tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(&nummer));
    pagina.toont(GOEDGEKEURD);
}

/// The first answer decides; the other device may say afterwards that it was not
/// Tom.
#[tokio::test]
async fn een_ander_toestel_zegt_achteraf_dat_het_tom_niet_was() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (mut pagina, mut toestel) = blad.met_app().await;
    let ticket = pagina.kiest_mobiele_app().await;
    let mut tablet = Toestel::scant(&blad, "Tablet van Tom", &ticket)
        .await
        .unwrap();
    let mut gebeurtenissen = blad.gebeurtenissen().await;

    // Wie de tablet vond en het wachtwoord kent, keurt goed.
    pagina.meldt_aan().await;
    toestel.wordt_wakker().await;
    tokio::join!(pagina.gaat_verder(), tablet.keurt_goed(""));
    pagina.toont(GOEDGEKEURD);

    // Op Toms telefoon verdwijnt de vraag, en staat wat er gebeurde.
    toestel.vraag_verdwijnt().await;
    toestel.zegt(
        "Een aanmelding bij Webmail is goedgekeurd met een ander toestel of een code. \
         n = dat was ik niet.",
    );
    blad.herstart().await;
    toestel.drukt_op("Dat was ik niet").await;
    toestel.zegt(
        "Gemeld: dat was u niet. De aanmelding was al goedgekeurd; de vrager krijgt bericht.",
    );
    pagina.wordt_afgemeld(&mut gebeurtenissen).await;
    pagina.toont("U bent afgemeld: op een toestel is gemeld dat u dit niet was.");
}
