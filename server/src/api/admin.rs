//! `AdminService`.

use std::sync::Arc;

use countersign_proto::v1;
use tonic::{Request, Response, Status};

use super::{
    admin_audit::{self, Answers},
    admin_import, admin_users,
    approval::invalid,
    convert, convert_policy,
    status::{status, unauthenticated},
};
use crate::{
    broker::{Broker, administer::AdminCaller, error::BrokerError},
    domain::{
        Invalid,
        api_key::ApiKeyId,
        ids::TenantId,
        policy::{Policy, Preset, is_country},
    },
};

pub(super) struct Administration {
    broker: Arc<Broker>,
}

impl Administration {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

pub(super) fn caller<T>(request: &Request<T>) -> Result<AdminCaller, Status> {
    request
        .extensions()
        .get::<AdminCaller>()
        .cloned()
        .ok_or_else(unauthenticated)
}

pub(super) fn tenant_id(text: &str) -> Result<TenantId, Status> {
    TenantId::parse("tenant_id", text).map_err(invalid)
}

pub(super) fn optional_tenant_id(text: &str) -> Result<Option<TenantId>, Status> {
    if text.is_empty() {
        Ok(None)
    } else {
        tenant_id(text).map(Some)
    }
}

pub(super) const DEFAULT_PAGE: usize = 100;
pub(super) const MAX_PAGE: usize = 1000;
const DEFAULT_VERSIONS: usize = 20;
const MAX_VERSIONS: usize = 100;

/// How many of a list are asked for at a time.
pub(super) fn page_size(asked: i32, default: usize, most: usize) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) if size <= most => Ok(size),
        _ => {
            let problem = format!("must be 0 to {most}");
            Err(invalid(Invalid::new("page_size", problem)))
        }
    }
}

/// The rules with which an organisation starts.
fn new_policy(request: &v1::CreateTenantRequest) -> Result<Policy, Invalid> {
    let preset = convert_policy::preset(request.preset)?.unwrap_or(Preset::Standard);
    let base = preset.apply(Policy::default());
    let mut policy = convert_policy::overlay(base, request.policy.as_ref())?;
    if !request.country.is_empty() {
        if !is_country(&request.country) {
            return Err(Invalid::new(
                "country",
                "must be an ISO 3166-1 alpha-2 code in capitals, such as BE",
            ));
        }
        if policy.sms.countries.is_empty() {
            policy.sms.countries.push(request.country.clone());
        }
    }
    Ok(policy)
}

#[tonic::async_trait]
impl v1::admin_service_server::AdminService for Administration {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let policy = new_policy(&request).map_err(invalid)?;
        let tenant = self
            .broker
            .create_tenant(&caller, request.display_name, policy)
            .await
            .map_err(status)?;
        let tenant = Some(convert_policy::tenant(&tenant));
        Ok(Response::new(v1::CreateTenantResponse { tenant }))
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantResponse>, Status> {
        let caller = caller(&request)?;
        let id = tenant_id(&request.get_ref().tenant_id)?;
        let tenant = self.broker.get_tenant(&caller, id).await.map_err(status)?;
        let tenant = Some(convert_policy::tenant(&tenant));
        Ok(Response::new(v1::GetTenantResponse { tenant }))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?;
        let after = if request.page_token.is_empty() {
            None
        } else {
            Some(TenantId::parse("page_token", &request.page_token).map_err(invalid)?)
        };
        let tenants = self
            .broker
            .list_tenants(&caller, after, size)
            .await
            .map_err(status)?;
        let full = tenants.len() == size && caller.scope.is_none();
        let next_page_token = tenants
            .last()
            .filter(|_| full)
            .map(|last| last.id.to_string());
        Ok(Response::new(v1::ListTenantsResponse {
            tenants: tenants.iter().map(convert_policy::tenant).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let id = tenant_id(&request.get_ref().tenant_id)?;
        let policy = self.broker.get_policy(&caller, id).await.map_err(status)?;
        let policy = Some(convert_policy::policy(&policy));
        Ok(Response::new(v1::GetPolicyResponse { policy }))
    }

    async fn update_policy(
        &self,
        request: Request<v1::UpdatePolicyRequest>,
    ) -> Result<Response<v1::UpdatePolicyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = tenant_id(&request.tenant_id)?;
        let preset = convert_policy::preset(request.preset).map_err(invalid)?;
        let (message, mask) = (request.policy.as_ref(), request.update_mask.as_ref());
        let expected = (request.expected_version != 0).then_some(request.expected_version);
        let policy = self
            .broker
            .update_policy(&caller, id, expected, preset, |base| {
                convert_policy::masked(base, message, mask)
            })
            .await
            .map_err(status)?;
        let policy = Some(convert_policy::policy(&policy));
        Ok(Response::new(v1::UpdatePolicyResponse { policy }))
    }

    async fn list_policy_versions(
        &self,
        request: Request<v1::ListPolicyVersionsRequest>,
    ) -> Result<Response<v1::ListPolicyVersionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = tenant_id(&request.tenant_id)?;
        let size = page_size(request.page_size, DEFAULT_VERSIONS, MAX_VERSIONS)?;
        let before = (request.before_version != 0).then_some(request.before_version);
        let versions = self
            .broker
            .policy_versions(&caller, id, before, size)
            .await
            .map_err(status)?;
        let versions = versions
            .iter()
            .map(convert_policy::policy_version)
            .collect();
        Ok(Response::new(v1::ListPolicyVersionsResponse { versions }))
    }

    async fn list_policy_presets(
        &self,
        request: Request<v1::ListPolicyPresetsRequest>,
    ) -> Result<Response<v1::ListPolicyPresetsResponse>, Status> {
        caller(&request)?;
        let presets = Preset::ALL
            .into_iter()
            .map(convert_policy::preset_description)
            .collect();
        Ok(Response::new(v1::ListPolicyPresetsResponse { presets }))
    }

    async fn get_user(
        &self,
        request: Request<v1::GetUserRequest>,
    ) -> Result<Response<v1::GetUserResponse>, Status> {
        admin_users::get(&self.broker, request).await
    }

    async fn lock_user(
        &self,
        request: Request<v1::LockUserRequest>,
    ) -> Result<Response<v1::LockUserResponse>, Status> {
        admin_users::lock(&self.broker, request).await
    }

    async fn unlock_user(
        &self,
        request: Request<v1::UnlockUserRequest>,
    ) -> Result<Response<v1::UnlockUserResponse>, Status> {
        admin_users::unlock(&self.broker, request).await
    }

    async fn reset_user(
        &self,
        request: Request<v1::ResetUserRequest>,
    ) -> Result<Response<v1::ResetUserResponse>, Status> {
        admin_users::reset(&self.broker, request).await
    }

    async fn set_user_enrollment(
        &self,
        request: Request<v1::SetUserEnrollmentRequest>,
    ) -> Result<Response<v1::SetUserEnrollmentResponse>, Status> {
        admin_users::set_enrollment(&self.broker, request).await
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        admin_users::devices(&self.broker, request).await
    }

    async fn remove_device(
        &self,
        request: Request<v1::RemoveDeviceRequest>,
    ) -> Result<Response<v1::RemoveDeviceResponse>, Status> {
        admin_users::remove_device(&self.broker, request).await
    }

    async fn import_devices(
        &self,
        request: Request<v1::ImportDevicesRequest>,
    ) -> Result<Response<v1::ImportDevicesResponse>, Status> {
        admin_import::import(&self.broker, request).await
    }

    async fn create_api_key(
        &self,
        request: Request<v1::CreateApiKeyRequest>,
    ) -> Result<Response<v1::CreateApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let tenant = optional_tenant_id(&request.tenant_id)?;
        let role = v1::Role::try_from(request.role)
            .map_err(|_| invalid(Invalid::new("role", "is not known")))
            .and_then(|role| convert::role(role).map_err(status))?;
        let (presented, key) = self
            .broker
            .create_api_key(&caller, tenant, role, request.display_name)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::CreateApiKeyResponse {
            api_key: presented.reveal(),
            key: Some(convert::api_key(&key)),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let caller = caller(&request)?;
        let tenant = optional_tenant_id(&request.get_ref().tenant_id)?;
        let keys = self
            .broker
            .list_api_keys(&caller, tenant)
            .await
            .map_err(status)?;
        let keys = keys.iter().map(convert::api_key).collect();
        Ok(Response::new(v1::ListApiKeysResponse { keys }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<v1::RevokeApiKeyRequest>,
    ) -> Result<Response<v1::RevokeApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let text = &request.get_ref().api_key_id;
        if text.is_empty() {
            return Err(invalid(Invalid::new("api_key_id", "is required")));
        }
        let id = ApiKeyId::parse(text).ok_or_else(|| status(BrokerError::NotFound("API key")))?;
        let key = self
            .broker
            .revoke_api_key(&caller, id)
            .await
            .map_err(status)?;
        let key = Some(convert::api_key(&key));
        Ok(Response::new(v1::RevokeApiKeyResponse { key }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<v1::RotateSigningKeyRequest>,
    ) -> Result<Response<v1::RotateSigningKeyResponse>, Status> {
        let caller = caller(&request)?;
        let lead =
            convert::duration("lead_time", request.into_inner().lead_time).map_err(invalid)?;
        let (key, turn) = self
            .broker
            .rotate_signing_key(&caller, lead)
            .await
            .map_err(status)?;
        let key = Some(convert::signing_key(&key, turn));
        Ok(Response::new(v1::RotateSigningKeyResponse { key }))
    }

    async fn list_signing_keys(
        &self,
        request: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        let caller = caller(&request)?;
        let keys = self.broker.list_signing_keys(&caller).map_err(status)?;
        let keys = keys
            .iter()
            .map(|(key, turn)| convert::signing_key(key, *turn))
            .collect();
        Ok(Response::new(v1::ListSigningKeysResponse { keys }))
    }

    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        admin_audit::list(&self.broker, request).await
    }

    type WatchAuditStream = Answers<v1::WatchAuditResponse>;

    async fn watch_audit(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Result<Response<Self::WatchAuditStream>, Status> {
        admin_audit::watch(&self.broker, request).await
    }

    type ExportAuditStream = Answers<v1::ExportAuditResponse>;

    async fn export_audit(
        &self,
        request: Request<v1::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        admin_audit::export(&self.broker, request).await
    }
}
