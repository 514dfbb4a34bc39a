//! A broker that is killed, drained, or must not start at all.

mod drain;
mod kill;
mod ledger;
mod load;
mod refusal;

use std::path::{Path, PathBuf};

use countersign_proto::v1::{
    self, admin_service_client::AdminServiceClient, approval_service_client::ApprovalServiceClient,
    enrollment_service_client::EnrollmentServiceClient,
};
use countersign_tests::{
    Authorized, Bearer, Tenant,
    process::{BrokerProcess, init},
};
use device_sim::phone::{EnrollOptions, EnrollmentUri, Phone, Ticket};

/// A data directory with an organisation that asks without number matching.
struct Installation {
    dir: tempfile::TempDir,
    tenant: Tenant,
}

impl Installation {
    /// Made by `countersign init` and a first run, which goes on.
    async fn new() -> (Self, BrokerProcess) {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let admin_key = init(&data(dir.path()));
        let broker = BrokerProcess::start(&data(dir.path()));
        let mut admin = AdminServiceClient::with_interceptor(broker.channel(), Bearer(admin_key));
        let matching = v1::NumberMatching::Off;
        let made = admin
            .create_tenant(v1::CreateTenantRequest {
                display_name: "Eagle IT BVBA".into(),
                policy: Some(v1::TenantPolicy {
                    number_matching: matching.into(),
                    ..v1::TenantPolicy::default()
                }),
                ..v1::CreateTenantRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        let id = made.tenant.unwrap().tenant_id;
        let key = admin
            .create_api_key(v1::CreateApiKeyRequest {
                tenant_id: id.clone(),
                role: v1::Role::Idp.into(),
                display_name: "test".into(),
            })
            .await
            .unwrap()
            .into_inner();
        let tenant = Tenant {
            id,
            api_key: key.api_key,
            api_key_id: key.key.unwrap().api_key_id,
        };
        (Self { dir, tenant }, broker)
    }

    fn data(&self) -> PathBuf {
        data(self.dir.path())
    }

    fn start(&self) -> BrokerProcess {
        BrokerProcess::start(&self.data())
    }

    /// An identity provider on a connection of its own.
    fn provider(&self, broker: &BrokerProcess) -> Provider {
        let (channel, bearer) = (broker.channel(), Bearer(self.tenant.api_key.clone()));
        Provider {
            approvals: ApprovalServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            enrollments: EnrollmentServiceClient::with_interceptor(channel, bearer),
        }
    }
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

#[derive(Clone)]
struct Provider {
    approvals: ApprovalServiceClient<Authorized>,
    enrollments: EnrollmentServiceClient<Authorized>,
}

/// Why something did not happen: with a broker that may be killed at any
/// moment, all that is known is that it was not acknowledged.
#[derive(Debug)]
struct Unacknowledged(String);

impl<E: std::error::Error> From<E> for Unacknowledged {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Provider {
    async fn create(
        &self,
        request: v1::CreateChallengeRequest,
    ) -> Result<v1::Challenge, Unacknowledged> {
        let made = self.approvals.clone().create_challenge(request).await?;
        Ok(made.into_inner().challenge.unwrap())
    }

    async fn get(&self, id: &str) -> Result<v1::Challenge, Unacknowledged> {
        let request = v1::GetChallengeRequest {
            challenge_id: id.into(),
        };
        let found = self.approvals.clone().get_challenge(request).await?;
        Ok(found.into_inner().challenge.unwrap())
    }

    async fn cancel(&self, id: &str) -> Result<v1::Challenge, Unacknowledged> {
        let request = v1::CancelChallengeRequest {
            challenge_id: id.into(),
        };
        let ended = self.approvals.clone().cancel_challenge(request).await?;
        Ok(ended.into_inner().challenge.unwrap())
    }

    /// Waits for the decision.
    async fn wait(&self, id: &str) -> Result<v1::Challenge, Unacknowledged> {
        let request = v1::WaitChallengeRequest {
            challenge_id: id.into(),
            timeout: Some(prost_types::Duration {
                seconds: 300,
                nanos: 0,
            }),
            ..v1::WaitChallengeRequest::default()
        };
        let waited = self.approvals.clone().wait_challenge(request).await?;
        Ok(waited.into_inner().challenge.unwrap())
    }

    async fn enroll(&self, user: &str) -> Result<Phone, Unacknowledged> {
        let ticket = self
            .enrollments
            .clone()
            .create_enrollment(v1::CreateEnrollmentRequest {
                user_id: user.into(),
                ttl: None,
            })
            .await?
            .into_inner();
        let uri: EnrollmentUri = ticket.enrollment_uri.parse().unwrap();
        Ok(Phone::enroll(EnrollOptions::new(Ticket::Uri(uri))).await?)
    }
}

/// The same phone, at the broker's new address.
fn moved(phone: &Phone, broker: &BrokerProcess) -> Phone {
    let mut state = phone.state().unwrap();
    state.broker = broker.address();
    Phone::from_state(state, std::sync::Arc::new(std::time::SystemTime::now)).unwrap()
}

/// A sign-in that outlives any of these tests.
fn sign_in(user: &str) -> v1::CreateChallengeRequest {
    v1::CreateChallengeRequest {
        ttl: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..countersign_tests::sign_in(user)
    }
}
