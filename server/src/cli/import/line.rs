//! One device of a file: a JSON object with the fields of `ImportedDevice`, as the
//! ProtoJSON mapping has them with the names of the `.proto` file. Enums may be
//! named without their prefix.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use countersign_proto::v1::{
    Gateway, ImportedDevice, KeyAlgorithm, KeyProtection, Platform, PushEnvironment,
    PushRegistration,
};
use serde::{Deserialize, Deserializer, de::Error as _};

/// Base64 (RFC 4648, section 4), with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes in either alphabet of base64.
#[derive(Default)]
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        BASE64
            .decode(text.replace('-', "+").replace('_', "/"))
            .map(Self)
            .map_err(|_| D::Error::custom("is not base64"))
    }
}

/// A name of an enum's, with or without its prefix; unset: unspecified.
#[derive(Default)]
struct Named<E>(E);

macro_rules! named {
    ($($enum:ident $prefix:literal [$($name:literal)*]),* $(,)?) => { $(
        impl<'de> Deserialize<'de> for Named<$enum> {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                let name = text.strip_prefix($prefix).unwrap_or(&text);
                let known = [$($name),*].contains(&name);
                $enum::from_str_name(&format!("{}{name}", $prefix))
                    .filter(|_| known)
                    .map(Self)
                    .ok_or_else(|| {
                        let names = [$($name),*].join(" or ");
                        D::Error::custom(format!("must be {names}, not {text:?}"))
                    })
            }
        }
    )* };
}

named! {
    KeyAlgorithm "KEY_ALGORITHM_" ["ED25519" "P256"],
    KeyProtection "KEY_PROTECTION_" ["SOFTWARE" "HARDWARE"],
    Platform "PLATFORM_" ["IOS" "ANDROID"],
    Gateway "GATEWAY_" ["APNS" "FCM"],
    PushEnvironment "PUSH_ENVIRONMENT_" ["PRODUCTION" "SANDBOX"],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    user_id: String,
    key_algorithm: Named<KeyAlgorithm>,
    public_key: Base64,
    #[serde(default)]
    key_protection: Named<KeyProtection>,
    platform: Named<Platform>,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    app_version: String,
    #[serde(default)]
    push: Option<Push>,
    #[serde(default)]
    encryption_key: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    gateway: Named<Gateway>,
    app_id: String,
    #[serde(default)]
    environment: Named<PushEnvironment>,
    token: String,
}

/// Reads a line.
pub(super) fn read(text: &str) -> Result<ImportedDevice, serde_json::Error> {
    let line: Line = serde_json::from_str(text)?;
    Ok(ImportedDevice {
        user_id: line.user_id,
        key_algorithm: line.key_algorithm.0.into(),
        public_key: line.public_key.0.into(),
        key_protection: line.key_protection.0.into(),
        platform: line.platform.0.into(),
        display_name: line.display_name,
        language: line.language,
        app_version: line.app_version,
        push: line.push.map(|push| PushRegistration {
            gateway: push.gateway.0.into(),
            app_id: push.app_id,
            environment: push.environment.0.into(),
            token: push.token,
        }),
        encryption_key: line.encryption_key.0.into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn all_fields_in_both_spellings() {
        let long = r#"{"user_id":"tom","key_algorithm":"KEY_ALGORITHM_P256","public_key":"+/8=",
            "key_protection":"KEY_PROTECTION_HARDWARE","platform":"PLATFORM_ANDROID",
            "display_name":"Tom's","language":"nl","app_version":"2",
            "push":{"gateway":"GATEWAY_FCM","app_id":"a","environment":"PUSH_ENVIRONMENT_PRODUCTION","token":"t"},
            "encryption_key":"AQI="}"#;
        let short = r#"{"user_id":"tom","key_algorithm":"P256","public_key":"-_8",
            "key_protection":"HARDWARE","platform":"ANDROID",
            "display_name":"Tom's","language":"nl","app_version":"2",
            "push":{"gateway":"FCM","app_id":"a","environment":"PRODUCTION","token":"t"},
            "encryption_key":"AQI"}"#;
        let wanted = ImportedDevice {
            user_id: "tom".into(),
            key_algorithm: KeyAlgorithm::P256.into(),
            public_key: vec![0xfb, 0xff].into(),
            key_protection: KeyProtection::Hardware.into(),
            platform: Platform::Android.into(),
            display_name: "Tom's".into(),
            language: "nl".into(),
            app_version: "2".into(),
            push: Some(PushRegistration {
                gateway: Gateway::Fcm.into(),
                app_id: "a".into(),
                environment: PushEnvironment::Production.into(),
                token: "t".into(),
            }),
            encryption_key: vec![1, 2].into(),
        };
        assert_eq!(read(long).unwrap(), wanted);
        assert_eq!(read(short).unwrap(), wanted);
        let least =
            r#"{"user_id":"tom","key_algorithm":"P256","public_key":"+/8","platform":"IOS"}"#;
        assert_eq!(
            read(least).unwrap(),
            ImportedDevice {
                user_id: "tom".into(),
                key_algorithm: KeyAlgorithm::P256.into(),
                public_key: vec![0xfb, 0xff].into(),
                platform: Platform::Ios.into(),
                ..ImportedDevice::default()
            }
        );
    }

    #[test]
    fn faults_are_named() {
        for (line, said) in [
            ("", "EOF"),
            ("tom", "expected"),
            ("{}", "missing field `user_id`"),
            (
                r#"{"user_id":"tom","colour":"red"}"#,
                "unknown field `colour`",
            ),
            (
                r#"{"user_id":"tom","key_algorithm":"RSA"}"#,
                r#"must be ED25519 or P256, not "RSA""#,
            ),
            (
                r#"{"user_id":"tom","key_algorithm":"P256","public_key":"é"}"#,
                "is not base64",
            ),
            (
                r#"{"user_id":"tom","platform":"UNSPECIFIED"}"#,
                r#"must be IOS or ANDROID, not "UNSPECIFIED""#,
            ),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
