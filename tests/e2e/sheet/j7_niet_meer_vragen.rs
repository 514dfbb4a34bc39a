//! 7. "Niet meer vragen op dit toestel."

use std::time::Duration;

use countersign_proto::v1;
use countersign_tests::sheet::{Page, Sheet, TOESTEL, TOM, Toestel, dagen};

use super::{AANGEMELD, GOEDGEKEURD, MEER_INFORMATIE, MELDING, VERGRENDELD, zonder_nummer};

/// Signs in with the box ticked, and approves.
async fn vinkt_aan(pagina: &mut Page, toestel: &mut Toestel) {
    pagina.meldt_aan_met_vinkje().await;
    pagina.toont(MELDING);
    tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(""));
    pagina.toont(GOEDGEKEURD);
}

/// Tom is asked after all; he leaves it at that for a day.
async fn wordt_gevraagd(blad: &Sheet, pagina: &mut Page) {
    pagina.meldt_aan().await;
    pagina.toont(MELDING);
    pagina.geeft_op().await;
    pagina.toont("U hebt het aanmelden afgebroken.");
    blad.verstrijkt(dagen(1));
}

#[tokio::test]
async fn tom_wordt_dertig_dagen_niet_meer_gevraagd() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (mut pagina, mut toestel) = blad.met_app().await;

    // Zonder vinkje wordt elke keer gevraagd.
    for _ in 0..2 {
        pagina.meldt_aan().await;
        pagina.toont(MELDING);
        tokio::join!(pagina.gaat_verder(), toestel.keurt_goed(""));
        pagina.toont(GOEDGEKEURD);
    }
    // Met vinkje niet meer, ook niet na een herstart; elke keer met een nieuw
    // koekje.
    vinkt_aan(&mut pagina, &mut toestel).await;
    for _ in 0..2 {
        blad.herstart().await;
        blad.verstrijkt(dagen(10));
        pagina.meldt_aan().await;
        pagina.toont(AANGEMELD);
        toestel.zwijgt().await;
    }
    // In een andere browser wel.
    let mut andere = blad.pagina(TOM);
    wordt_gevraagd(&blad, &mut andere).await;
    // En na dertig dagen weer.
    blad.verstrijkt(dagen(9));
    wordt_gevraagd(&blad, &mut pagina).await;

    // Wie het koekje kopieert, komt een keer binnen; de tweede keer valt het op.
    vinkt_aan(&mut pagina, &mut toestel).await;
    let mut dief = pagina.kopie();
    dief.meldt_aan().await;
    dief.toont(AANGEMELD);
    wordt_gevraagd(&blad, &mut pagina).await;
    wordt_gevraagd(&blad, &mut dief).await;
}

#[tokio::test]
async fn wat_het_vertrouwen_wegneemt_vergeet_de_browser() {
    let mut blad = Sheet::begint(zonder_nummer()).await;
    let (mut pagina, mut toestel) = blad.met_app().await;

    // "Vergeet mijn browsers."
    vinkt_aan(&mut pagina, &mut toestel).await;
    pagina.vergeet_browsers().await;
    pagina.toont("Browsers vergeten: 1.");
    wordt_gevraagd(&blad, &mut pagina).await;

    // Een toestel wordt verwijderd.
    vinkt_aan(&mut pagina, &mut toestel).await;
    let ticket = pagina.kiest_mobiele_app().await;
    Toestel::scant(&blad, "Oude tablet", &ticket).await.unwrap();
    pagina.verwijdert("Oude tablet").await;
    wordt_gevraagd(&blad, &mut pagina).await;

    // De helpdesk vergrendelt het account, en ontgrendelt het.
    vinkt_aan(&mut pagina, &mut toestel).await;
    blad.helpdesk_vergrendelt(TOM).await;
    pagina.meldt_aan().await;
    pagina.toont(VERGRENDELD);
    blad.herstart().await;
    blad.helpdesk_ontgrendelt(TOM).await;
    wordt_gevraagd(&blad, &mut pagina).await;

    // De organisatie verandert haar regels.
    vinkt_aan(&mut pagina, &mut toestel).await;
    blad.beleid(v1::TenantPolicy {
        browser_days: Some(14),
        ..v1::TenantPolicy::default()
    })
    .await;
    wordt_gevraagd(&blad, &mut pagina).await;

    // "Dat was ik niet", in een andere browser.
    vinkt_aan(&mut pagina, &mut toestel).await;
    let mut vreemde = blad.pagina(TOM);
    vreemde.meldt_aan().await;
    toestel.wordt_wakker().await;
    toestel.drukt_op("Dat was ik niet").await;
    blad.verstrijkt(Duration::from_secs(3600));
    wordt_gevraagd(&blad, &mut pagina).await;

    // De helpdesk wist alles.
    vinkt_aan(&mut pagina, &mut toestel).await;
    blad.helpdesk_wist(TOM).await;
    pagina.meldt_aan().await;
    pagina.toont(MEER_INFORMATIE);
    let ticket = pagina.kiest_mobiele_app().await;
    Toestel::scant(&blad, TOESTEL, &ticket).await.unwrap();
    wordt_gevraagd(&blad, &mut pagina).await;
}
