//! In the place of `webpki-roots` 0.26, Mozilla's list as a constant: the
//! certificates in the file that `SSL_CERT_FILE` names.

use std::sync::LazyLock;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

/// The roots. Panics on first use if the file is missing or malformed.
pub static TLS_SERVER_ROOTS: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    let path = std::env::var_os("SSL_CERT_FILE").expect("SSL_CERT_FILE is not set");
    CertificateDer::pem_file_iter(path)
        .expect("SSL_CERT_FILE can't be read")
        .map(|certificate| {
            let certificate = certificate.expect("SSL_CERT_FILE is malformed");
            webpki::anchor_from_trusted_cert(&certificate)
                .expect("SSL_CERT_FILE holds something else than certificates")
                .to_owned()
        })
        .collect()
});
