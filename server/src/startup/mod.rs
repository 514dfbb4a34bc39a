//! Starting and stopping the broker: puts the rooms together.

mod master_key;

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use master_key::MasterKeyError;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    api,
    broker::{
        Broker, Identity,
        error::BrokerError,
        keyring::{Keyring, MasterKey},
    },
    clock::Clock,
    config::{Config, PortConfig},
    delivery::{
        DeliveryError, Gateways,
        sms::{CallbackRefused, CallbackRequest, SmsGateways},
    },
    domain::{audit, device::PushGateway, time::Timestamp},
    metrics::Metrics,
    store::{
        Store, StoreError,
        embedded::EmbeddedStore,
        engine::{Compacted, EngineOptions, OpenError},
    },
    tls::{Listener, ListenerOptions, Protocols, Tls, TlsError},
};

/// What [`init`] or [`recover`] made.
pub struct InitReport {
    /// An API key of the whole installation: `csk_<id>_<secret>`.
    pub admin_key: String,
}

impl std::fmt::Debug for InitReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InitReport(…)")
    }
}

/// Makes an empty store, the master key if there is none, the first signing
/// key and the first API key.
///
/// # Errors
/// When there is a store already, or something can't be written. A store that
/// was made but not finished is finished by [`recover`].
pub async fn init(config: &Config, clock: &Clock) -> Result<InitReport, StartError> {
    master_key::check_place(&config.master_key_file, &config.data_dir)?;
    let store = EmbeddedStore::create(&config.data_dir, EngineOptions::default())?;
    if !config.master_key_file.exists() {
        master_key::make(&config.master_key_file)?;
    }
    issue_admin_key(store, config, clock).await
}

/// Makes another API key for the whole installation, for when the others are
/// lost. Whoever can read the data directory and the master key may do so; the
/// broker must not be running.
///
/// # Errors
/// When the store can't be opened, or the master key does not belong to it.
pub async fn recover(config: &Config, clock: &Clock) -> Result<InitReport, StartError> {
    only_as_owner(&config.data_dir)?;
    let store = EmbeddedStore::open(&config.data_dir, EngineOptions::default())?;
    issue_admin_key(store, config, clock).await
}

/// Writes the store anew, without what has left it: gives room on disk back, which
/// a running broker only uses again. The broker must not be running.
///
/// # Errors
/// When the store can't be opened or there is no room for a second one meanwhile;
/// then it is as it was.
pub fn compact(config: &Config) -> Result<Compacted, StartError> {
    only_as_owner(&config.data_dir)?;
    let options = EngineOptions {
        cache_capacity: config.limits.max_store_cache_bytes,
        ..EngineOptions::default()
    };
    Ok(EmbeddedStore::compact(&config.data_dir, options)?)
}

/// Whoever else works on it, above all root, leaves files that the broker can't
/// open.
fn only_as_owner(data_dir: &Path) -> Result<(), StartError> {
    let own = rustix::process::geteuid().as_raw();
    match std::fs::metadata(data_dir) {
        Ok(dir) if dir.uid() != own => Err(StartError::NotOwner {
            path: data_dir.to_owned(),
            owner: dir.uid(),
            own,
        }),
        // What is missing is told by who opens it.
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn issue_admin_key(
    store: EmbeddedStore,
    config: &Config,
    clock: &Clock,
) -> Result<InitReport, StartError> {
    let keyring = open_keyring(&store, config).await?;
    let now = Timestamp::from_millis(clock.now_ms());
    if keyring.stored().is_empty() {
        let key = keyring.make(now, now)?;
        let by = audit::By {
            actor: audit::Actor::Operator,
            address: String::new(),
        };
        store.add_signing_key(key.clone(), by).await?;
        keyring.add(key)?;
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let identity = Identity {
        issuer: String::new(),
        public_url: String::new(),
    };
    let metrics = Arc::new(Metrics::new()?);
    let broker = Broker::new(store.clone(), clock.clone(), keyring, identity, metrics);
    let presented = broker.create_operator_key().await?;
    store.close().await?;
    Ok(InitReport {
        admin_key: presented.reveal(),
    })
}

async fn open_keyring(store: &dyn Store, config: &Config) -> Result<Keyring, StartError> {
    let master = master_key::read(&config.master_key_file)?;
    let keyring = Keyring::new(MasterKey::new(&master)?, store.signing_keys().await?);
    let keyring = keyring.map_err(|error| MasterKeyError::Refused {
        path: config.master_key_file.clone(),
        detail: match error {
            BrokerError::Internal(detail) => detail,
            other => other.to_string(),
        },
    })?;
    master_key::warn_if_exposed(&config.master_key_file);
    Ok(keyring)
}

/// Why the broker was not set up, or did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Files of another user would be left in it.
    #[error(
        "data directory {} belongs to user {owner}, this is user {own}: run it as that user, \
         e.g. `sudo -u '#{owner}'`", path.display()
    )]
    NotOwner {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asked.
        own: u32,
    },
    /// The master key's file.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// What is stored can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored can't be opened.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Push gateways.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The reflection service.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The metrics registry.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Why the broker stopped other than by being told to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The store failed: what was in flight may or may not be stored.
    #[error("the store failed: {0}")]
    Store(String),
    /// The gRPC port.
    #[error("the gRPC port failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The HTTP port.
    #[error("the HTTP port failed: {0}")]
    Http(io::Error),
}

/// The broker, its ports bound.
pub struct Server {
    broker: Arc<Broker>,
    gateways: Arc<Gateways>,
    texts: Arc<SmsGateways>,
    config: Config,
    grpc: (Listener, SocketAddr),
    http: (Listener, SocketAddr),
    public_http: Option<(Listener, SocketAddr)>,
    tls: Vec<Tls>,
    health: HealthReporter,
    routes: tonic::service::Routes,
    store_failed: tokio::sync::watch::Receiver<Option<String>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server(grpc {}, http {})", self.grpc.1, self.http.1)
    }
}

/// How long a connection to the HTTP port may be silent: longer than the time
/// between two visits of a monitor.
const HTTP_IDLE: Duration = Duration::from_secs(75);

async fn listen(
    port: &PortConfig,
    config: &Config,
    protocols: Protocols,
    all: &mut Vec<Tls>,
) -> Result<(Listener, SocketAddr), StartError> {
    let tls = match &port.tls {
        None => None,
        Some(files) => Some(Tls::load(files.clone(), protocols)?),
    };
    all.extend(tls.clone());
    let options = ListenerOptions {
        tls,
        max_connections: config.limits.max_connections,
        handshake_timeout: config.limits.handshake_timeout,
        idle_timeout: match protocols {
            Protocols::Grpc => None,
            Protocols::Http => Some(HTTP_IDLE),
        },
    };
    let failed = |source| StartError::Bind {
        address: port.listen,
        source,
    };
    let listener = Listener::bind(port.listen, options).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn api_limits(config: &Config) -> api::Limits {
    api::Limits {
        max_message_bytes: config.limits.max_message_bytes,
        request_timeout: config.limits.request_timeout,
        max_calls: config.limits.max_calls,
        max_new_calls: config.limits.max_new_calls,
        queue_delay: config.limits.queue_delay,
    }
}

impl Server {
    /// Opens the store and binds the ports.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left bound.
    pub async fn bind(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::bind_with(config, clock, EngineOptions::default()).await
    }

    /// As [`Server::bind`], the store run as `engine` says: for measurements of
    /// what its settings are worth. Its `on_fatal` and `cache_capacity` are replaced.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left bound.
    pub async fn bind_with(
        config: Config,
        clock: Clock,
        engine: EngineOptions,
    ) -> Result<Self, StartError> {
        let (failed, store_failed) = tokio::sync::watch::channel(None);
        let options = EngineOptions {
            cache_capacity: config.limits.max_store_cache_bytes,
            on_fatal: Some(Arc::new(move |cause| {
                failed.send_replace(Some(cause));
            })),
            ..engine
        };
        let embedded = Arc::new(EmbeddedStore::open(&config.data_dir, options)?);
        let metrics = Arc::new(Metrics::new()?);
        let counted = embedded.clone();
        metrics.count_store(Box::new(move || {
            let stats = counted.stats();
            [
                stats.commands,
                stats.batches,
                stats.syncs,
                stats.bytes,
                stats.refused,
            ]
        }));
        let store: Arc<dyn Store> = embedded;
        let keyring = open_keyring(store.as_ref(), &config).await?;
        let told = clock.clone();
        let gateways = Arc::new(Gateways::new(
            &config.push,
            Arc::new(move || told.now_ms()),
        )?);
        let told = clock.clone();
        let texts = SmsGateways::new(&config.sms, Arc::new(move || told.now_ms()))?;
        let mut tls = Vec::new();
        let grpc = listen(&config.grpc, &config, Protocols::Grpc, &mut tls).await?;
        let http = listen(&config.http, &config, Protocols::Http, &mut tls).await?;
        let public_http = match &config.public_http {
            None => None,
            Some(port) => Some(listen(port, &config, Protocols::Http, &mut tls).await?),
        };
        let identity = Identity {
            issuer: config.issuer_at(grpc.1),
            public_url: config.public_url_at(grpc.1),
        };
        let broker = Broker::new(store, clock, keyring, identity, metrics);
        if config.limits.allow_device_import {
            broker.allow_import();
        }
        let texts = Arc::new(texts);
        broker.text_by(texts.clone());
        let told = Arc::downgrade(&broker);
        texts.on_receipt(Arc::new(move |receipt| {
            if let Some(broker) = told.upgrade() {
                broker.take_receipt(&receipt);
            }
        }));
        let health = HealthReporter::new();
        let routes = api::services(&broker, health.clone(), api_limits(&config))?;
        Ok(Self {
            broker,
            gateways,
            texts,
            config,
            grpc,
            http,
            public_http,
            tls,
            health,
            routes,
            store_failed,
        })
    }

    /// Where the gRPC port is bound.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.1
    }

    /// Where the HTTP port is bound.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.1
    }

    /// Where the public HTTP port is bound, if there is one.
    #[must_use]
    pub fn public_http_addr(&self) -> Option<SocketAddr> {
        self.public_http.as_ref().map(|port| port.1)
    }

    /// Serves until `shutdown`, then takes no new work, lets running calls end
    /// (waiting ones end as they are), and closes the store.
    ///
    /// # Errors
    /// [`ServeError`] when it can't go on.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self {
            broker,
            gateways,
            texts,
            config,
            grpc,
            http,
            public_http,
            tls,
            health,
            routes,
            mut store_failed,
        } = self;
        let clock = broker.clock.clone();
        let stop = CancellationToken::new();
        let mut background = tokio::task::JoinSet::new();
        background.spawn(broker.clone().run_expiry());
        background.spawn(broker.clone().run_audit());
        background.spawn(broker.clone().run_retention(config.retention));
        for gateway in [PushGateway::Apns, PushGateway::Fcm] {
            background.spawn(broker.clone().run_dispatch(gateway, gateways.clone()));
        }
        background.spawn(broker.clone().run_fallback());
        background.spawn(broker.clone().run_texts());
        background.spawn(texts.clone().run(stop.clone()));
        let mut watching = tokio::task::JoinSet::new();
        for tls in tls {
            watching.spawn(tls.keep_fresh(clock.clone()));
        }
        set_health(&health, ServingStatus::Serving).await;

        let (admission, repair, authenticate) = api::gate(&broker, api_limits(&config));
        let grpc = tonic::transport::Server::builder()
            .accept_http1(true)
            .tcp_nodelay(true)
            .max_concurrent_streams(config.limits.max_concurrent_streams)
            .http2_keepalive_interval(Some(config.limits.keepalive_interval))
            .http2_keepalive_timeout(Some(config.limits.keepalive_timeout))
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(admission)
            .layer(repair)
            .layer(authenticate)
            .add_routes(routes)
            .serve_with_incoming_shutdown(grpc.0, stop.clone().cancelled_owned());
        let callbacks = status_callbacks(texts);
        let mut http = serve_http(
            http.0,
            api::http::router(broker.clone(), callbacks.clone()),
            stop.clone(),
        );
        let mut public_http = match public_http {
            None => tokio::spawn(std::future::pending()),
            Some(port) => {
                let router = api::http::public_router(broker.clone(), callbacks);
                serve_http(port.0, router, stop.clone())
            }
        };
        let mut grpc = tokio::spawn(grpc);

        let mut result = Ok(());
        tokio::select! {
            () = shutdown => tracing::info!("stopping: no new work, running calls end"),
            failed = store_failed.wait_for(Option::is_some) => {
                let cause = failed.ok().and_then(|cause| cause.clone()).unwrap_or_default();
                tracing::error!(%cause, "the store failed: stopping");
                result = Err(ServeError::Store(cause));
            }
            ended = &mut grpc => result = flatten(ended),
            ended = &mut http => {
                result = ended.unwrap_or(Ok(())).map_err(ServeError::Http);
            }
            ended = &mut public_http => {
                result = ended.unwrap_or(Ok(())).map_err(ServeError::Http);
            }
        }
        set_health(&health, ServingStatus::NotServing).await;
        broker.stop();
        stop.cancel();
        let drained = async {
            if !grpc.is_finished() {
                result_of(flatten((&mut grpc).await));
            }
            while background.join_next().await.is_some() {}
        };
        if tokio::time::timeout(config.limits.drain_timeout, drained)
            .await
            .is_err()
        {
            tracing::warn!("some calls had not ended in time");
        }
        grpc.abort();
        http.abort();
        public_http.abort();
        drop(watching);
        if let Err(error) = broker.store.close().await
            && result.is_ok()
        {
            result = Err(ServeError::Store(error.to_string()));
        }
        result
    }
}

fn serve_http(
    listener: Listener,
    router: axum::Router,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<io::Result<()>> {
    let router = router.into_make_service_with_connect_info::<crate::tls::ConnectionInfo>();
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::spawn(async move { served.await })
}

/// What SMS gateways report over HTTP, on its way to them.
pub fn status_callbacks(texts: Arc<SmsGateways>) -> api::http::StatusCallbacks {
    Arc::new(move |callback| {
        let request = CallbackRequest {
            method: callback.method,
            path_and_query: callback.path_and_query,
            headers: callback.headers,
            body: callback.body,
        };
        match texts.callback(callback.gateway, request) {
            Ok(()) => api::http::StatusAnswer::Taken,
            Err(CallbackRefused::Forged) => api::http::StatusAnswer::Forged,
            Err(CallbackRefused::UnknownGateway) => api::http::StatusAnswer::UnknownGateway,
            Err(CallbackRefused::Malformed) => api::http::StatusAnswer::Malformed,
        }
    })
}

fn flatten(
    ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), ServeError> {
    match ended {
        Ok(result) => result.map_err(ServeError::Grpc),
        Err(error) => Err(ServeError::Store(error.to_string())),
    }
}

fn result_of(result: Result<(), ServeError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the gRPC port ended with an error");
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in [
        "",
        "countersign.v1.ApprovalService",
        "countersign.v1.EnrollmentService",
        "countersign.v1.DeviceService",
        "countersign.v1.AdminService",
    ] {
        health.set_service_status(service, status).await;
    }
}
