//! TLS towards gateways: aws-lc-rs, TLS 1.2 and up, and whom to trust.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Trusts the certificates in `root_ca_file` and no others, or else the
/// system's. The system's store is kept up to date by the operating system and
/// knows the operator's own authorities; a compiled-in list would do neither.
pub(super) fn client_config(root_ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match root_ca_file {
        Some(path) => {
            let fault = |text: String| format!("{}: {text}", path.display());
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|e| fault(e.to_string()))?
            {
                let certificate = certificate.map_err(|e| fault(e.to_string()))?;
                roots.add(certificate).map_err(|e| fault(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fault("holds no certificate".to_owned()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _unusable) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(
                    "the system has no root certificates: install ca-certificates or set root_ca_file"
                        .to_owned(),
                );
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
