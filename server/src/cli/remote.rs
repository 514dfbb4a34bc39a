//! Reaching a running broker.

use std::{fs, path::Path, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    arguments::{AdminArgs, RemoteArgs},
    failure::{Failure, Kind, chain},
};
use crate::config::check_plaintext;
use countersign_proto::v1::admin_service_client::AdminServiceClient;

/// How long to try to reach the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may take: longer than the 30 s that a waiting call waits
/// unless told otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that carries an API key.
pub(super) type Connection = InterceptedService<Channel, Bearer>;

/// Adds the API key to every call.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Runs a command to its end.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(command)
}

pub(super) async fn admin(args: &AdminArgs) -> Result<AdminServiceClient<Connection>, Failure> {
    let file = args.admin_key_file.as_deref();
    let bearer = bearer(file, "--admin-key-file", "COUNTERSIGN_ADMIN_KEY")?;
    Ok(AdminServiceClient::new(
        connect(&args.remote, bearer).await?,
    ))
}

/// The API key from `file` or, without one, from the environment.
pub(super) fn bearer(file: Option<&Path>, flag: &str, variable: &str) -> Result<Bearer, Failure> {
    let (key, origin) = match file {
        Some(path) => {
            let key = fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", path.display()))
            })?;
            (key, path.display().to_string())
        }
        None => {
            let key = std::env::var(variable).map_err(|_| {
                Failure::new(
                    Kind::Permission,
                    format!("an API key is needed: set {variable} or name a file by {flag}"),
                )
            })?;
            (key, variable.to_owned())
        }
    };
    let key = zeroize::Zeroizing::new(key);
    parse_key(key.trim()).ok_or_else(|| {
        Failure::new(
            Kind::Permission,
            format!("{origin} does not hold an API key (csk_<id>_<secret>)"),
        )
    })
}

fn parse_key(key: &str) -> Option<Bearer> {
    if !key.starts_with("csk_") {
        return None;
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().ok()?;
    value.set_sensitive(true);
    Some(Bearer(value))
}

pub(super) async fn connect(args: &RemoteArgs, bearer: Bearer) -> Result<Connection, Failure> {
    let endpoint = endpoint(args)?;
    let channel = endpoint.connect().await.map_err(|error| {
        Failure::new(
            Kind::Unavailable,
            format!("cannot reach {}: {}", args.address, chain(&error)),
        )
    })?;
    Ok(InterceptedService::new(channel, bearer))
}

fn endpoint(args: &RemoteArgs) -> Result<Endpoint, Failure> {
    let address = args.address.trim_end_matches('/');
    check_plaintext(
        address,
        args.allow_plaintext_beyond_loopback,
        "--allow-plaintext-beyond-loopback",
    )
    .map_err(|message| Failure::usage(format!("--address: {message}")))?;
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|_| Failure::usage(format!("--address: {address} is not an address")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    let tls_flag = args.ca_file.is_some() || args.client_certificate_file.is_some();
    if !address.starts_with("https://") {
        return if tls_flag {
            Err(Failure::usage(format!(
                "--address: {address} is plain, certificates need https://"
            )))
        } else {
            Ok(endpoint)
        };
    }
    endpoint
        .tls_config(tls(args)?)
        .map_err(|error| Failure::usage(format!("certificates: {}", chain(&error))))
}

fn tls(args: &RemoteArgs) -> Result<ClientTlsConfig, Failure> {
    let read = |path: &Path| {
        fs::read(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
    };
    let mut tls = match &args.ca_file {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match (&args.client_certificate_file, &args.client_key_file) {
        (Some(certificate), Some(key)) => {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        (None, None) => {}
        _ => {
            return Err(Failure::usage(
                "--client-certificate-file and --client-key-file belong together",
            ));
        }
    }
    Ok(tls)
}
