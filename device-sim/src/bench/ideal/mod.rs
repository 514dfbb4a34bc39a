//! The ideal flow: what an approval costs where nothing is stored, pushed or
//! written down. An honest twin of the broker: the same four calls with the
//! same messages over a bare tonic server, the same signatures made and
//! verified, the same receipt.
//!
//! What it leaves out, besides storage, push and audit: API keys, the memory of
//! nonces, policy, other methods than push, expiry. What is decided is dropped
//! once its caller was told.

mod approvals;
mod devices;
mod receipt;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use countersign_proto::v1::approval_service_server::ApprovalServiceServer;
use countersign_proto::v1::device_service_server::DeviceServiceServer;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

pub(super) use state::{Ideal, IdealOptions};

use super::BenchError;

/// The `aud` of its receipts.
pub(super) const AUDIENCE: &str = "ideal";
/// Its only organisation.
pub(super) const TENANT_ID: &str = "019ab000-0000-7000-8000-000000000001";

/// Calls in flight per connection: the waiting callers of a whole installation.
const MAX_STREAMS: u32 = 1_000_000;

/// Binds a free port of loopback and serves until the returned task is dropped
/// or aborted.
pub(super) async fn serve(
    ideal: Ideal,
) -> Result<
    (
        SocketAddr,
        tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    ),
    BenchError,
> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let ideal = Arc::new(ideal);
    let served = tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(ApprovalServiceServer::from_arc(ideal.clone()))
        .add_service(DeviceServiceServer::from_arc(ideal))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    Ok((address, tokio::spawn(served)))
}
