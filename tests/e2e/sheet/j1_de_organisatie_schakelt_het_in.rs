//! 1. "Uw organisatie schakelt het in."

use countersign_proto::v1::{self, Enforcement, PolicyPreset};
use countersign_tests::sheet::{ANN, Sheet, TOM, dagen, op, seconden};

use super::{AANGEMELD, MEER_INFORMATIE, standaard};

fn vanaf(enrollment: v1::EnrollmentPolicy) -> v1::TenantPolicy {
    v1::TenantPolicy {
        enrollment: Some(enrollment),
        ..standaard()
    }
}

fn streng(enforcement: Enforcement) -> v1::EnrollmentPolicy {
    v1::EnrollmentPolicy {
        enforcement: enforcement.into(),
        ..v1::EnrollmentPolicy::default()
    }
}

#[tokio::test]
async fn de_organisatie_schakelt_het_in_vanaf_een_dag() {
    // Eagle IT is klant, maar heeft het nog niet ingeschakeld.
    let mut blad = Sheet::begint(vanaf(streng(Enforcement::Off))).await;
    let mut toms = blad.pagina(TOM);
    let mut anns = blad.pagina(ANN);
    toms.meldt_aan().await;
    toms.toont(AANGEMELD);

    // Afgesproken: vanaf overmorgen, eerst alleen voor Tom.
    let afspraak = v1::EnrollmentPolicy {
        start_time: op(dagen(2)),
        listed_users_only: Some(true),
        ..streng(Enforcement::Required)
    };
    blad.beleid(vanaf(afspraak)).await;
    blad.op_de_lijst(TOM, true).await;
    blad.verstrijkt(dagen(2) - seconden(2));
    toms.meldt_aan().await;
    toms.toont(AANGEMELD);

    blad.herstart().await;
    blad.verstrijkt(seconden(1));
    toms.meldt_aan().await;
    toms.toont(MEER_INFORMATIE);
    anns.meldt_aan().await;
    anns.toont(AANGEMELD);
    blad.op_de_lijst(TOM, false).await;
    toms.meldt_aan().await;
    toms.toont(AANGEMELD);

    // Dan voor iedereen, en overslaan mag nog twee keer, tot het dag vijf is.
    let aanmoedigen = v1::EnrollmentPolicy {
        listed_users_only: Some(false),
        max_snoozes: Some(2),
        snooze_until: op(dagen(5)),
        ..streng(Enforcement::Encouraged)
    };
    blad.beleid(vanaf(aanmoedigen)).await;
    toms.meldt_aan().await;
    toms.toont(&format!(
        "{MEER_INFORMATIE}\n[Nu overslaan] kan nog 2 keer."
    ));
    toms.slaat_over().await;
    toms.toont(AANGEMELD);
    toms.meldt_aan().await;
    toms.toont(&format!(
        "{MEER_INFORMATIE}\n[Nu overslaan] kan nog 1 keer."
    ));
    toms.slaat_over().await;
    toms.meldt_aan().await;
    toms.toont(MEER_INFORMATIE);
    toms.slaat_over().await;
    toms.toont("Overslaan kan niet meer.");
    anns.meldt_aan().await;
    anns.toont(&format!(
        "{MEER_INFORMATIE}\n[Nu overslaan] kan nog 2 keer."
    ));
    blad.verstrijkt(dagen(3));
    anns.meldt_aan().await;
    anns.toont(MEER_INFORMATIE);
}

/// What may be registered follows from what the organisation started from.
#[tokio::test]
async fn de_organisatie_kiest_waarmee() {
    let zonder_sms = "Meer informatie vereist.\n\
                      - Mobiele app (aanbevolen)\n\
                      - Authenticator-app";
    let alleen_app = "Meer informatie vereist.\n- Mobiele app (aanbevolen)";
    for (preset, venster) in [
        (PolicyPreset::Standard, MEER_INFORMATIE),
        (PolicyPreset::LowFriction, MEER_INFORMATIE),
        (PolicyPreset::Nist, zonder_sms),
        (PolicyPreset::PhishingHardened, alleen_app),
    ] {
        let mut blad = Sheet::begint_met(preset, standaard()).await;
        blad.herstart().await;
        let mut pagina = blad.pagina(TOM);
        pagina.meldt_aan().await;
        pagina.toont(venster);
    }
    // Wie liever sms heeft, raadt dat aan.
    let blad = Sheet::begint(v1::TenantPolicy {
        methods: Some(v1::MethodsPolicy {
            totp: Some(false),
            recommended: v1::Method::Sms.into(),
            ..v1::MethodsPolicy::default()
        }),
        ..standaard()
    })
    .await;
    let mut pagina = blad.pagina(TOM);
    pagina.meldt_aan().await;
    pagina.toont(
        "Meer informatie vereist.\n\
         - Telefoon voor authenticatie (aanbevolen)\n\
         - Mobiele app",
    );
}
