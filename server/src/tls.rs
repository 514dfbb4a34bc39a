//! TLS for the broker's own ports: certificates from files, read again when
//! they change, and the [`Listener`] that accepts plain and TLS connections.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use thiserror::Error;

use crate::clock::Clock;

mod gathering;
mod listener;
#[cfg(test)]
mod tests;

pub use listener::{Connection, ConnectionInfo, Listener, ListenerOptions};

/// How often [`Tls::keep_fresh`] looks at the files.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Application protocols offered by ALPN (RFC 7301), best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// `h2` for gRPC and `http/1.1` for gRPC-Web on the same port.
    Grpc,
    /// `http/1.1`.
    Http,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Grpc => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http => vec![b"http/1.1".to_vec()],
        }
    }
}

/// What is asked of a connecting client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// No certificate is asked for.
    #[default]
    Off,
    /// A certificate is verified when the client has one.
    Optional,
    /// A connection without a certificate from the client CA is refused.
    Required,
}

/// The files that make a port speak TLS, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by its intermediates.
    pub certificate_file: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_file: PathBuf,
    /// The authorities whose client certificates are accepted. Needed unless
    /// `client_certificates` is `Off`.
    pub client_ca_file: Option<PathBuf>,
    /// What is asked of clients.
    pub client_certificates: ClientCertificates,
}

/// Which of the [`TlsFiles`] something is wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// `certificate_file`
    Certificate,
    /// `key_file`
    Key,
    /// `client_ca_file`
    ClientCa,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate_file",
            Self::Key => "key_file",
            Self::ClientCa => "client_ca_file",
        })
    }
}

/// Why the files don't make a TLS configuration. Never holds what was in them.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        file: TlsFile,
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not PEM.
    #[error("{path} is not valid PEM: {reason}")]
    NotPem {
        /// Which file.
        file: TlsFile,
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file has no section of the kind wanted.
    #[error("no {wanted} in {path}")]
    Missing {
        /// Which file.
        file: TlsFile,
        /// Its path.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Certificate and key don't fit each other, or are of a kind not supported.
    #[error("certificate {certificate} and key {key} cannot be used together: {reason}")]
    Unusable {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// A client CA certificate can't be used.
    #[error("{path} cannot be used to verify client certificates: {reason}")]
    UnusableClientCa {
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Client certificates are wanted, but no authority is named.
    #[error("client certificates need a client_ca_file")]
    NoClientCa,
}

impl TlsError {
    /// The file at fault.
    pub fn file(&self) -> TlsFile {
        match self {
            Self::Unreadable { file, .. }
            | Self::NotPem { file, .. }
            | Self::Missing { file, .. } => *file,
            Self::Unusable { .. } => TlsFile::Key,
            Self::UnusableClientCa { .. } | Self::NoClientCa => TlsFile::ClientCa,
        }
    }
}

/// A TLS server configuration that follows its files. Cheap to clone; all
/// clones follow together.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    protocols: Protocols,
    current: ArcSwap<ServerConfig>,
    seen: Mutex<Contents>,
}

/// The bytes of the files, compared to notice a change: modification times
/// miss a swapped symbolic link, which is how mounted secrets are renewed.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one can't be read or they don't fit together.
    pub fn load(files: TlsFiles, protocols: Protocols) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let config = build(&files, protocols, &contents)?;
        Ok(Self(Arc::new(Shared {
            files,
            protocols,
            current: ArcSwap::new(config),
            seen: Mutex::new(contents),
        })))
    }

    /// What a connection accepted now will be offered.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.current.load_full()
    }

    /// Reads the files again; `true` when they had changed and are now in
    /// use. Connections already open keep what they have.
    ///
    /// # Errors
    /// When they had changed but can't be used: the old ones stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let shared = &*self.0;
        let contents = Contents::read(&shared.files)?;
        if *shared.seen.lock() == contents {
            return Ok(false);
        }
        let config = build(&shared.files, shared.protocols, &contents)?;
        shared.current.store(config);
        *shared.seen.lock() = contents;
        Ok(true)
    }

    /// Reloads every [`RELOAD_INTERVAL`], for ever. A fault is logged once,
    /// not at each look.
    pub async fn keep_fresh(self, clock: Clock) {
        let mut last_fault = None;
        loop {
            clock.sleep(RELOAD_INTERVAL).await;
            let tls = self.clone();
            let outcome = tokio::task::spawn_blocking(move || tls.reload()).await;
            let certificate = self.0.files.certificate_file.display();
            match outcome {
                Ok(Ok(changed)) => {
                    if changed || last_fault.take().is_some() {
                        tracing::info!(%certificate, "certificate files reloaded");
                    }
                }
                Ok(Err(error)) => {
                    let fault = error.to_string();
                    if last_fault.as_ref() != Some(&fault) {
                        tracing::error!(%certificate, error = fault, "changed certificate files cannot be used, keeping the old ones");
                        last_fault = Some(fault);
                    }
                }
                Err(error) => tracing::error!(%error, "reloading certificate files was cut short"),
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.0.files)
            .field("protocols", &self.0.protocols)
            .finish_non_exhaustive()
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let client_ca = match (files.client_certificates, &files.client_ca_file) {
            (ClientCertificates::Off, _) => None,
            (_, Some(path)) => Some(read(TlsFile::ClientCa, path)?),
            (_, None) => return Err(TlsError::NoClientCa),
        };
        Ok(Self {
            certificate: read(TlsFile::Certificate, &files.certificate_file)?,
            key: read(TlsFile::Key, &files.key_file)?.into(),
            client_ca,
        })
    }
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        file,
        path: path.to_owned(),
        source,
    })
}

fn certificates(
    file: TlsFile,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(file, path, &error))?;
    if found.is_empty() {
        return Err(TlsError::Missing {
            file,
            path: path.to_owned(),
            wanted: "certificate",
        });
    }
    Ok(found)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Missing {
            file: TlsFile::Key,
            path: path.to_owned(),
            wanted: "unencrypted private key",
        },
        error => not_pem(TlsFile::Key, path, &error),
    })
}

fn not_pem(file: TlsFile, path: &Path, error: &pem::Error) -> TlsError {
    // Only the kind of fault: some variants quote the line, which in a key
    // file is the key.
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section has a malformed start",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "malformed",
    };
    TlsError::NotPem {
        file,
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn build(
    files: &TlsFiles,
    protocols: Protocols,
    contents: &Contents,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |error: rustls::Error| TlsError::Unusable {
        certificate: files.certificate_file.clone(),
        key: files.key_file.clone(),
        reason: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match (&contents.client_ca, &files.client_ca_file) {
        (Some(pem), Some(path)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(path, pem)?),
                provider as Arc<CryptoProvider>,
            );
            let verifier = match files.client_certificates {
                ClientCertificates::Required => verifier,
                ClientCertificates::Optional | ClientCertificates::Off => {
                    verifier.allow_unauthenticated()
                }
            };
            let verifier = verifier.build().map_err(|error: VerifierBuilderError| {
                TlsError::UnusableClientCa {
                    path: path.clone(),
                    reason: error.to_string(),
                }
            })?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let chain = certificates(
        TlsFile::Certificate,
        &files.certificate_file,
        &contents.certificate,
    )?;
    let key = private_key(&files.key_file, &contents.key)?;
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = protocols.alpn();
    Ok(Arc::new(config))
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::ClientCa, path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::UnusableClientCa {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
    }
    Ok(roots)
}
