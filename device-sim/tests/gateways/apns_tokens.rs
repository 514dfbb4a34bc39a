//! Each check of APNs' provider tokens, with the reason Apple gives.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use device_sim::gateway::{ApnsTeam, Encoding, Vendor};
use jsonwebtoken::EncodingKey;
use serde_json::json;

use crate::client::{
    ApnsClient, KEY, Push, TEAM, gateways, good_token, hmac, iphone, provider_token, registration,
    sign,
};

#[tokio::test]
async fn every_rule_of_a_provider_token() {
    let (gateways, hand) = gateways(|config| {
        config.token_change_limit = None;
        config.teams.push(ApnsTeam {
            team_id: "EXAMPLETM2".to_owned(),
            key_id: "EXAMPLEKY2".to_owned(),
            topics: vec!["be.example.second".to_owned()],
        });
    })
    .await;
    let now = hand.now_s();
    let es256 = || json!({ "alg": "ES256", "kid": KEY });
    let signed = |header, claims| provider_token(&gateways, header, claims);
    let good = signed(es256(), json!({ "iss": TEAM, "iat": now }));
    let mut forged = good.clone();
    let tail = if forged.ends_with('A') { "Q" } else { "A" };
    forged.replace_range(forged.len() - 1.., tail);
    let invalid = (403, "InvalidProviderToken");
    let expired = (403, "ExpiredProviderToken");
    let table = [
        ("good", good.clone(), (200, "")),
        (
            "an hour old",
            signed(es256(), json!({ "iss": TEAM, "iat": now - 3600 })),
            (200, ""),
        ),
        (
            "older",
            signed(es256(), json!({ "iss": TEAM, "iat": now - 3601 })),
            expired,
        ),
        (
            "from the future",
            signed(es256(), json!({ "iss": TEAM, "iat": now + 120 })),
            invalid,
        ),
        (
            "iat in milliseconds",
            signed(es256(), json!({ "iss": TEAM, "iat": now * 1000 })),
            invalid,
        ),
        (
            "iat as text",
            signed(es256(), json!({ "iss": TEAM, "iat": now.to_string() })),
            invalid,
        ),
        ("no iat", signed(es256(), json!({ "iss": TEAM })), invalid),
        ("no iss", signed(es256(), json!({ "iat": now })), invalid),
        (
            "another team's iss",
            signed(es256(), json!({ "iss": "EXAMPLETM2", "iat": now })),
            invalid,
        ),
        (
            "no kid",
            signed(
                json!({ "alg": "ES256" }),
                json!({ "iss": TEAM, "iat": now }),
            ),
            invalid,
        ),
        (
            "unknown kid",
            signed(
                json!({ "alg": "ES256", "kid": "X" }),
                json!({ "iss": TEAM, "iat": now }),
            ),
            invalid,
        ),
        (
            "another team's kid",
            signed(
                json!({ "alg": "ES256", "kid": "EXAMPLEKY2" }),
                json!({ "iss": "EXAMPLETM2", "iat": now }),
            ),
            invalid,
        ),
        (
            "hs256",
            hmac(
                json!({ "alg": "HS256", "kid": KEY }),
                json!({ "iss": TEAM, "iat": now }),
            ),
            invalid,
        ),
        ("forged", forged, invalid),
        ("no jwt", "x".to_owned(), invalid),
        (
            "two parts",
            good.rsplit_once('.').unwrap().0.to_owned(),
            invalid,
        ),
        ("padded", padded(&good), invalid),
    ];
    let device = iphone(&gateways);
    for (name, jwt, expected) in table {
        // One connection each: what one token did to it must not help the next.
        let client = ApnsClient::connect(&gateways).await;
        let answer = client
            .call(Push::good(&device, &jwt).request())
            .await
            .unwrap();
        assert_eq!(answer.outcome(), expected, "{name}");
    }
    assert_eq!(
        gateways.apns().counters().jwts,
        2,
        "only good ones are counted"
    );

    // A connection belongs to the team that spoke first on it.
    let client = ApnsClient::connect(&gateways).await;
    assert_eq!(
        client
            .call(Push::good(&device, &good).request())
            .await
            .unwrap()
            .outcome(),
        (200, "")
    );
    let second = gateways.credentials().apns_keys()[1].clone();
    let key = EncodingKey::from_ec_pem(&std::fs::read(second.path).unwrap()).unwrap();
    let other = sign(
        &key,
        json!({ "alg": "ES256", "kid": "EXAMPLEKY2" }),
        json!({ "iss": "EXAMPLETM2", "iat": now }),
    );
    let second_app = gateways
        .issue_token(&registration(Vendor::Apns, "be.example.second"))
        .unwrap();
    let push = || Push::good(&second_app, &other).header("apns-topic", "be.example.second");
    assert_eq!(
        client.call(push().request()).await.unwrap().outcome(),
        invalid
    );
    let client = ApnsClient::connect(&gateways).await;
    assert_eq!(
        client.call(push().request()).await.unwrap().outcome(),
        (200, "")
    );

    // A revoked key speaks no more, nor does a token grown old.
    assert!(gateways.credentials().revoke_apns_key("EXAMPLEKY2"));
    assert_eq!(
        client.call(push().request()).await.unwrap().outcome(),
        invalid
    );
    hand.turn(3601);
    let client = ApnsClient::connect(&gateways).await;
    let answer = client
        .call(Push::good(&device, &good).request())
        .await
        .unwrap();
    assert_eq!(answer.outcome(), expired);
}

/// The same JWT as `a2` writes it. Its signature no longer fits, as it covers the text.
fn padded(jwt: &str) -> String {
    jwt.split('.').map(to_padded).collect::<Vec<_>>().join(".")
}

fn to_padded(part: &str) -> String {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    BASE64.encode(bytes)
}

#[tokio::test]
async fn padded_tokens_pass_in_lenient_mode_only() {
    for (encoding, expected) in [
        (Encoding::Strict, (403, "InvalidProviderToken")),
        (Encoding::Lenient, (200, "")),
    ] {
        let (gateways, hand) = gateways(|config| config.jwt_encoding = encoding).await;
        let pem = std::fs::read_to_string(&gateways.credentials().apns_keys()[0].path).unwrap();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let header = BASE64.encode(format!(r#"{{"alg":"ES256","kid":"{KEY}"}}"#));
        let claims = BASE64.encode(format!(r#"{{"iss":"{TEAM}","iat":{}}}"#, hand.now_s()));
        let input = format!("{header}.{claims}");
        assert!(input.contains('='), "padding is what this is about");
        let algorithm = jsonwebtoken::Algorithm::ES256;
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, algorithm).unwrap();
        let jwt = format!("{input}.{}", to_padded(&signature));
        let client = ApnsClient::connect(&gateways).await;
        let push = Push::good(&iphone(&gateways), &jwt);
        assert_eq!(
            client.call(push.request()).await.unwrap().outcome(),
            expected
        );
    }
}

#[tokio::test]
async fn provider_tokens_change_once_in_twenty_minutes() {
    let (gateways, hand) = gateways(|_| {}).await;
    let device = iphone(&gateways);
    let client = ApnsClient::connect(&gateways).await;
    let send = async |jwt: &str| {
        let answer = client
            .call(Push::good(&device, jwt).request())
            .await
            .unwrap();
        let (status, reason) = answer.outcome();
        (status, reason.to_owned())
    };
    let good = (200, String::new());
    let first = good_token(&gateways, &hand);
    assert_eq!(send(&first).await, good);
    hand.turn(1);
    let second = good_token(&gateways, &hand);
    assert_eq!(send(&second).await, good, "the first change");
    assert_eq!(
        send(&first).await,
        good,
        "an older token still in use is no change"
    );
    hand.turn(1198);
    let third = good_token(&gateways, &hand);
    let refused = (429, "TooManyProviderTokenUpdates".to_owned());
    assert_eq!(send(&third).await, refused, "the second within 20 minutes");
    assert_eq!(send(&second).await, good);
    hand.turn(2);
    assert_eq!(send(&third).await, good, "20 minutes after the first");
    assert_eq!(gateways.apns().counters().jwts, 3);
}
