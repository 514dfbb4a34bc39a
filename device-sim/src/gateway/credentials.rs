//! What the vendors would hand out to a provider, made at run time: signing keys, service accounts,
//! and a certificate authority for the emulators' own TLS.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

/// Keys or files that could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file or directory.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A key or certificate.
    #[error("key or certificate: {0}")]
    Key(#[from] rcgen::Error),
    /// A service account that is not one.
    #[error("{}: not a service account: {cause}", path.display())]
    ServiceAccount {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

/// A signing key of an Apple developer team, as the file `AuthKey_<key_id>.p8`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApnsKey {
    /// Ten characters, the JWT's `iss`.
    pub team_id: String,
    /// Ten characters, the JWT's `kid`.
    pub key_id: String,
    /// PKCS#8 PEM, P-256.
    pub path: PathBuf,
}

/// A service account of a Firebase project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FcmAccount {
    /// The project.
    pub project_id: String,
    /// The assertion's `iss`.
    pub client_email: String,
    /// The file, in Google's format.
    pub path: PathBuf,
}

/// Google's format (the fields that matter here).
#[derive(Serialize, Deserialize)]
struct ServiceAccountFile {
    r#type: String,
    project_id: String,
    private_key_id: String,
    private_key: String,
    client_email: String,
    client_id: String,
    auth_uri: String,
    token_uri: String,
}

/// A secret shared with a provider, and the file that holds it.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) text: String,
    pub(crate) path: PathBuf,
}

/// What the APNs emulator knows of a key.
#[derive(Clone, Debug)]
pub(crate) struct ApnsVerifier {
    pub(crate) team_id: String,
    pub(crate) public_key: Vec<u8>,
}

/// What the FCM emulator knows of a service account.
#[derive(Clone, Debug, Default)]
pub(crate) struct FcmVerifier {
    pub(crate) project_id: String,
    /// By `private_key_id`.
    pub(crate) public_keys: HashMap<String, Vec<u8>>,
}

#[derive(Default)]
struct Issued {
    apns: HashMap<String, ApnsVerifier>,
    fcm: HashMap<String, FcmVerifier>,
    apns_keys: Vec<ApnsKey>,
    fcm_accounts: Vec<FcmAccount>,
}

/// The credentials handed out, and the directory that holds them. Clones share them.
#[derive(Clone)]
pub struct Credentials {
    dir: Arc<PathBuf>,
    issued: Arc<RwLock<Issued>>,
}

/// Certificate chain and key for the emulators' listeners.
pub(crate) struct ServerIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Credentials {
    pub(crate) fn open(dir: &Path) -> Result<Self, CredentialsError> {
        let file = |cause| CredentialsError::File {
            path: dir.to_owned(),
            cause,
        };
        // Absolute, as the paths also stand in the broker's configuration.
        let absolute = std::path::absolute(dir).map_err(file)?;
        std::fs::create_dir_all(&absolute).map_err(file)?;
        Ok(Self {
            dir: Arc::new(absolute),
            issued: Arc::default(),
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root certificate (PEM) that a client of the emulators must trust.
    pub fn root_ca_file(&self) -> PathBuf {
        self.dir.join("root-ca.pem")
    }

    /// The keys of all Apple developer teams.
    pub fn apns_keys(&self) -> Vec<ApnsKey> {
        self.issued.read().apns_keys.clone()
    }

    /// The service accounts of all Firebase projects.
    pub fn fcm_accounts(&self) -> Vec<FcmAccount> {
        self.issued.read().fcm_accounts.clone()
    }

    /// Takes the secret in the directory's file of that name, or writes the one given there.
    pub(crate) fn issue_secret(&self, name: &str, made: &str) -> Result<Secret, CredentialsError> {
        let path = self.dir.join(name);
        let text = match read_if_there(&path)? {
            Some(text) => text.trim().to_owned(),
            None => {
                write_private(&path, made)?;
                made.to_owned()
            }
        };
        Ok(Secret { text, path })
    }

    /// Makes a signing key for a team, or takes the one already in the directory.
    ///
    /// # Errors
    /// The file can't be written or read.
    pub fn issue_apns_key(&self, team_id: &str, key_id: &str) -> Result<ApnsKey, CredentialsError> {
        let path = self.dir.join(format!("AuthKey_{key_id}.p8"));
        let key = match read_if_there(&path)? {
            Some(pem) => KeyPair::from_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256)?,
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                write_private(&path, &key.serialize_pem())?;
                key
            }
        };
        let verifier = ApnsVerifier {
            team_id: team_id.to_owned(),
            public_key: key.public_key_raw().to_vec(),
        };
        let key = ApnsKey {
            team_id: team_id.to_owned(),
            key_id: key_id.to_owned(),
            path,
        };
        let mut issued = self.issued.write();
        issued.apns.insert(key_id.to_owned(), verifier);
        issued.apns_keys.retain(|old| old.key_id != key_id);
        issued.apns_keys.push(key.clone());
        Ok(key)
    }

    /// Revokes a signing key: tokens signed by it are refused from now on. False if unknown.
    pub fn revoke_apns_key(&self, key_id: &str) -> bool {
        let mut issued = self.issued.write();
        issued.apns_keys.retain(|key| key.key_id != key_id);
        issued.apns.remove(key_id).is_some()
    }

    pub(crate) fn apns_verifier(&self, key_id: &str) -> Option<ApnsVerifier> {
        self.issued.read().apns.get(key_id).cloned()
    }

    /// Makes a service account for a project, or takes the one already in the directory if its key
    /// can be kept (`fresh` false). With `fresh` the file gets a new key beside the old one, which
    /// stays valid until [`Self::revoke_fcm_keys`].
    ///
    /// # Errors
    /// The file can't be written or read.
    pub fn issue_fcm_account(
        &self,
        project_id: &str,
        token_uri: &str,
        fresh: bool,
    ) -> Result<FcmAccount, CredentialsError> {
        let path = self.dir.join(format!("service-account-{project_id}.json"));
        let kept = if fresh { None } else { read_if_there(&path)? };
        let (key, private_key_id) = match kept {
            Some(text) => {
                let old: ServiceAccountFile = serde_json::from_str(&text).map_err(|cause| {
                    CredentialsError::ServiceAccount {
                        path: path.clone(),
                        cause,
                    }
                })?;
                let key = KeyPair::from_pem_and_sign_algo(&old.private_key, &PKCS_RSA_SHA256)?;
                (key, old.private_key_id)
            }
            None => {
                let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
                (key, super::device::hex(&rand::random::<[u8; 20]>()))
            }
        };
        let client_email = format!("countersign@{project_id}.iam.gserviceaccount.com");
        let file = ServiceAccountFile {
            r#type: "service_account".to_owned(),
            project_id: project_id.to_owned(),
            private_key_id: private_key_id.clone(),
            private_key: key.serialize_pem(),
            client_email: client_email.clone(),
            client_id: "100000000000000000000".to_owned(),
            auth_uri: "https://accounts.google.com/o/oauth2/auth".to_owned(),
            token_uri: token_uri.to_owned(),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|cause| {
            CredentialsError::ServiceAccount {
                path: path.clone(),
                cause,
            }
        })?;
        write_private(&path, &text)?;
        let account = FcmAccount {
            project_id: project_id.to_owned(),
            client_email: client_email.clone(),
            path,
        };
        let mut issued = self.issued.write();
        let verifier = issued.fcm.entry(client_email.clone()).or_default();
        verifier.project_id = project_id.to_owned();
        verifier
            .public_keys
            .insert(private_key_id, key.public_key_raw().to_vec());
        issued
            .fcm_accounts
            .retain(|old| old.client_email != client_email);
        issued.fcm_accounts.push(account.clone());
        Ok(account)
    }

    /// Revokes every key of a project's service account but the one in its file. False if the
    /// project is unknown.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn revoke_fcm_keys(&self, project_id: &str) -> Result<bool, CredentialsError> {
        let account = self
            .fcm_accounts()
            .into_iter()
            .find(|account| account.project_id == project_id);
        let Some(account) = account else {
            return Ok(false);
        };
        let text = read_if_there(&account.path)?.unwrap_or_default();
        let file: ServiceAccountFile =
            serde_json::from_str(&text).map_err(|cause| CredentialsError::ServiceAccount {
                path: account.path.clone(),
                cause,
            })?;
        if let Some(verifier) = self.issued.write().fcm.get_mut(&account.client_email) {
            verifier
                .public_keys
                .retain(|id, _| *id == file.private_key_id);
        }
        Ok(true)
    }

    pub(crate) fn fcm_verifier(&self, client_email: &str) -> Option<FcmVerifier> {
        self.issued.read().fcm.get(client_email).cloned()
    }

    /// A server certificate under the directory's own authority, for these names and addresses.
    pub(crate) fn server_identity(
        &self,
        names: &[String],
    ) -> Result<ServerIdentity, CredentialsError> {
        let key_path = self.dir.join("root-ca.key");
        let root_path = self.root_ca_file();
        let kept = read_if_there(&key_path)?;
        let root_key = match &kept {
            Some(pem) => KeyPair::from_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)?,
            None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        };
        let mut root = CertificateParams::default();
        root.distinguished_name
            .push(DnType::CommonName, "Countersign test gateways");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if kept.is_none() || !root_path.exists() {
            let certificate = root.self_signed(&root_key)?;
            write_private(&key_path, &root_key.serialize_pem())?;
            std::fs::write(&root_path, certificate.pem()).map_err(|cause| {
                CredentialsError::File {
                    path: root_path,
                    cause,
                }
            })?;
        }
        let issuer = Issuer::new(root, root_key);

        let mut server = CertificateParams::new(names.to_vec())?;
        server
            .distinguished_name
            .push(DnType::CommonName, "Countersign test gateway");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = server.signed_by(&server_key, &issuer)?;
        Ok(ServerIdentity {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der())),
        })
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, CredentialsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(CredentialsError::File {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Writes a file that only its owner may read, replacing an old one in one step.
fn write_private(path: &Path, text: &str) -> Result<(), CredentialsError> {
    let write = || {
        let dir = path.parent().unwrap_or(Path::new("."));
        // Temporary files are made readable by their owner alone.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(path).map_err(|failed| failed.error)?;
        Ok(())
    };
    write().map_err(|cause| CredentialsError::File {
        path: path.to_owned(),
        cause,
    })
}
