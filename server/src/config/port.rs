//! `[grpc]`, `[http]` and `[public_http]`: a port and its TLS.

use std::net::SocketAddr;

use super::{
    fault::Source,
    section::{Findings, Located, Section, quoted},
};
use crate::tls::{ClientCertificates, Protocols, Tls, TlsError, TlsFile, TlsFiles};

/// A port to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// `listen`: address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// `tls.certificate_file`, `tls.key_file` and, for gRPC,
    /// `tls.client_ca_file` and `tls.client_certificates`. `None`: plain.
    pub tls: Option<TlsFiles>,
    /// `allow_plaintext_beyond_loopback`: without it an address that other
    /// machines can reach needs TLS.
    pub allow_plaintext_beyond_loopback: bool,
}

/// Reads one port; also tells where its address was set.
pub(super) fn read(
    mut section: Section<'_>,
    default: SocketAddr,
    protocols: Protocols,
    findings: &Findings,
) -> (PortConfig, Source) {
    let listen = section.address_or("listen", default);
    read_rest(section, listen, protocols, findings)
}

/// Reads a port that is there only when it has an address.
pub(super) fn read_optional(
    mut section: Section<'_>,
    protocols: Protocols,
    findings: &Findings,
) -> Option<PortConfig> {
    match section.address("listen") {
        Some(listen) => Some(read_rest(section, listen, protocols, findings).0),
        None => {
            section.section("tls").finish();
            section.finish();
            None
        }
    }
}

fn read_rest(
    mut section: Section<'_>,
    listen: Located<SocketAddr>,
    protocols: Protocols,
    findings: &Findings,
) -> (PortConfig, Source) {
    let plaintext = section.flag("allow_plaintext_beyond_loopback");
    let (tls, tls_is_meant) = read_tls(section.section("tls"), protocols);
    if !tls_is_meant && !plaintext.value && !listen.value.ip().is_loopback() {
        findings.fault(
            listen.source.clone(),
            section.name("listen"),
            format!(
                "{} can be reached from other machines and needs TLS: set {} and {}, or {} = true \
                 where something in front speaks TLS",
                quoted(&listen.value.to_string()),
                section.name("tls.certificate_file"),
                section.name("tls.key_file"),
                section.name("allow_plaintext_beyond_loopback"),
            ),
        );
    }
    section.finish();
    let port = PortConfig {
        listen: listen.value,
        tls,
        allow_plaintext_beyond_loopback: plaintext.value,
    };
    (port, listen.source)
}

/// Reads the TLS files, and whether any was named.
fn read_tls(mut section: Section<'_>, protocols: Protocols) -> (Option<TlsFiles>, bool) {
    let certificate = section.path("certificate_file");
    let key = section.path("key_file");
    let (client_ca, client_certificates) = match protocols {
        Protocols::Http => (None, None),
        Protocols::Grpc => {
            let choices = [
                ("off", ClientCertificates::Off),
                ("optional", ClientCertificates::Optional),
                ("required", ClientCertificates::Required),
            ];
            let client_ca = section.path("client_ca_file");
            let wanted = section.choice(
                "client_certificates",
                "off",
                &choices,
                ClientCertificates::Off,
            );
            (client_ca, Some(wanted))
        }
    };
    let wanted = client_certificates
        .as_ref()
        .map_or(ClientCertificates::Off, |wanted| wanted.value);
    if let Some(ca) = &client_ca
        && wanted == ClientCertificates::Off
    {
        section.fault(
            ca.source.clone(),
            "client_ca_file",
            "has no effect while client_certificates is \"off\"",
        );
    }
    if let Some(asked) = &client_certificates
        && wanted != ClientCertificates::Off
        && client_ca.is_none()
    {
        section.fault(
            asked.source.clone(),
            "client_certificates",
            "needs client_ca_file",
        );
    }
    let is_meant = certificate.is_some() || key.is_some();
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let files = TlsFiles {
                certificate_file: certificate.value.clone(),
                key_file: key.value.clone(),
                client_ca_file: client_ca.as_ref().map(|ca| ca.value.clone()),
                client_certificates: wanted,
            };
            match Tls::load(files.clone(), protocols) {
                // Reported above, with the key that asks for it.
                Ok(_) | Err(TlsError::NoClientCa) => {}
                Err(error) => {
                    let (name, source) = match error.file() {
                        TlsFile::Certificate => ("certificate_file", certificate.source),
                        TlsFile::Key => ("key_file", key.source),
                        TlsFile::ClientCa => (
                            "client_ca_file",
                            client_ca.map_or(Source::Default, |ca| ca.source),
                        ),
                    };
                    section.fault(source, name, error.to_string());
                }
            }
            Some(files)
        }
        (Some(certificate), None) => {
            section.fault(certificate.source, "certificate_file", "needs key_file too");
            None
        }
        (None, Some(key)) => {
            section.fault(key.source, "key_file", "needs certificate_file too");
            None
        }
        (None, None) => {
            if let Some(asked) = client_certificates
                && wanted != ClientCertificates::Off
            {
                section.fault(
                    asked.source,
                    "client_certificates",
                    "needs certificate_file and key_file",
                );
            }
            None
        }
    };
    section.finish();
    (files, is_meant)
}
