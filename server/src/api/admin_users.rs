//! People and their devices: that part of `AdminService`.

use std::sync::Arc;

use countersign_proto::v1;
use tonic::{Request, Response, Status};

use super::{
    admin::{caller, tenant_id},
    approval::invalid,
    convert,
    status::status,
};
use crate::{
    broker::{Broker, authenticators::Authenticators},
    domain::{
        body::timestamp,
        ids::{DeviceId, UserId},
        time::Timestamp,
    },
};

fn user_id(text: &str) -> Result<UserId, Status> {
    UserId::parse("user_id", text).map_err(invalid)
}

fn user(known: &Authenticators, now: Timestamp) -> v1::User {
    let account = &known.account;
    let waiting = |until: Timestamp| (now < until).then(|| timestamp(until));
    v1::User {
        user_id: account.user.as_str().to_owned(),
        lock: account.lock.map(|lock| v1::Lock {
            lock_time: Some(timestamp(lock.since)),
            reason: convert::lock_reason(lock.reason).into(),
        }),
        failures: account.failures,
        next_guess_time: waiting(account.no_guess_before),
        next_code_time: waiting(account.no_code_before),
        prompts: account.prompts,
        authenticators: convert::authenticators(known),
        listed: account.listed,
        snoozes: account.snoozes,
    }
}

/// The rpcs that take a user and give them back.
macro_rules! of_a_user {
    ($($name:ident: $request:ident => $response:ident by $use_case:ident;)*) => {
        $(pub(super) async fn $name(
            broker: &Arc<Broker>,
            request: Request<v1::$request>,
        ) -> Result<Response<v1::$response>, Status> {
            let caller = caller(&request)?;
            let request = request.into_inner();
            let tenant = tenant_id(&request.tenant_id)?;
            let id = user_id(&request.user_id)?;
            let known = broker
                .$use_case(&caller, tenant, &id)
                .await
                .map_err(status)?;
            let user = Some(user(&known, broker.now()));
            Ok(Response::new(v1::$response { user }))
        })*
    };
}

of_a_user! {
    get: GetUserRequest => GetUserResponse by get_user;
    lock: LockUserRequest => LockUserResponse by lock_user;
    unlock: UnlockUserRequest => UnlockUserResponse by unlock_user;
    reset: ResetUserRequest => ResetUserResponse by reset_user;
}

pub(super) async fn set_enrollment(
    broker: &Arc<Broker>,
    request: Request<v1::SetUserEnrollmentRequest>,
) -> Result<Response<v1::SetUserEnrollmentResponse>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let tenant = tenant_id(&request.tenant_id)?;
    let id = user_id(&request.user_id)?;
    let known = broker
        .list_for_enrolment(&caller, tenant, &id, request.listed)
        .await
        .map_err(status)?;
    let user = Some(user(&known, broker.now()));
    Ok(Response::new(v1::SetUserEnrollmentResponse { user }))
}

pub(super) async fn devices(
    broker: &Arc<Broker>,
    request: Request<v1::ListDevicesRequest>,
) -> Result<Response<v1::ListDevicesResponse>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let tenant = tenant_id(&request.tenant_id)?;
    let user = user_id(&request.user_id)?;
    let devices = broker
        .list_devices(&caller, tenant, &user)
        .await
        .map_err(status)?;
    let devices = devices.iter().map(convert::authenticator).collect();
    Ok(Response::new(v1::ListDevicesResponse { devices }))
}

pub(super) async fn remove_device(
    broker: &Arc<Broker>,
    request: Request<v1::RemoveDeviceRequest>,
) -> Result<Response<v1::RemoveDeviceResponse>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let tenant = tenant_id(&request.tenant_id)?;
    let device = DeviceId::parse("device_id", &request.device_id).map_err(invalid)?;
    let user = broker
        .remove_device_of_tenant(&caller, tenant, device)
        .await
        .map_err(status)?;
    let user_id = user.as_str().to_owned();
    Ok(Response::new(v1::RemoveDeviceResponse { user_id }))
}
