//! The code guesser: knows passwords, and types codes by chance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use countersign_proto::v1::{
    AddTotpRequest, ChallengeState, ConfirmTotpRequest, CreateChallengeRequest,
    ListAuthenticatorsRequest, Method, RemoveAuthenticatorRequest, VerifyCodeRequest,
    authenticator,
};
use parking_lot::Mutex;
use tonic::Status;

use super::{Model, Tally, at_a_rate, victim};
use crate::demo::authenticator_app::{AuthenticatorApp, step_at};
use crate::fleet::Idp;
use crate::load::dice::{Dice, Purpose};
use crate::load::inbox::Who;
use crate::load::run::Run;
use crate::load::tenant::{CALL_TIMEOUT, Tenant, timed};

/// The challenge of each victim whose code is being guessed.
type Open = Arc<Mutex<HashMap<Who, String>>>;

/// The victims, and the apps that were set up for them.
pub(in crate::load) type Armed = HashMap<Who, AuthenticatorApp>;

pub(super) async fn arm(run: &Run) -> Armed {
    let mut apps = Armed::new();
    for who in run.victims_of(Model::Guesser) {
        let Some(tenant) = run.tenants.get(who.0) else {
            continue;
        };
        match add_app(tenant, who.1).await {
            Ok(app) => drop(apps.insert(who, app)),
            Err(status) => run.failed_call("AddTotp", &status),
        }
    }
    apps
}

pub(super) async fn run(run: Arc<Run>, apps: Arc<Armed>, rate: f64) {
    let mut victims: Vec<Who> = apps.keys().copied().collect();
    victims.sort_unstable();
    let victims: Arc<[Who]> = victims.into();
    let open: Open = Arc::default();
    at_a_rate(&run, rate, |number| {
        let (run, victims) = (Arc::clone(&run), Arc::clone(&victims));
        let (apps, open) = (Arc::clone(&apps), Arc::clone(&open));
        async move {
            let who = victim(&run, &victims, number);
            if let Some((who, app)) = who.and_then(|who| Some((who, apps.get(&who)?))) {
                guess(&run, who, app, number, &open).await;
            }
        }
    })
    .await;
}

/// Gives a user an authenticator app, in the place of any other.
pub(in crate::load) async fn add_app(
    tenant: &Tenant,
    user: u64,
) -> Result<AuthenticatorApp, Status> {
    let user_id = tenant.population.user_id(user);
    let mut client = tenant.enrollments(user);
    let request = ListAuthenticatorsRequest {
        user_id: user_id.clone(),
    };
    let request = timed(tenant.idp.authorized(request), CALL_TIMEOUT);
    let listed = client.list_authenticators(request).await?.into_inner();
    for one in listed.authenticators {
        if matches!(one.kind, Some(authenticator::Kind::TotpApp(_))) {
            let request = RemoveAuthenticatorRequest {
                user_id: user_id.clone(),
                authenticator_id: one.authenticator_id,
            };
            let request = timed(tenant.idp.authorized(request), CALL_TIMEOUT);
            client.remove_authenticator(request).await?;
        }
    }
    let request = AddTotpRequest {
        user_id: user_id.clone(),
        account_name: String::new(),
    };
    let request = timed(tenant.idp.authorized(request), CALL_TIMEOUT);
    let added = client.add_totp(request).await?.into_inner();
    let app = AuthenticatorApp::scan(&added.otpauth_uri)
        .ok_or_else(|| Status::internal("an otpauth address that cannot be read"))?;
    let request = ConfirmTotpRequest {
        user_id,
        authenticator_id: added.authenticator.unwrap_or_default().authenticator_id,
        code: app.code(step_at(SystemTime::now())),
    };
    let request = timed(tenant.idp.authorized(request), CALL_TIMEOUT);
    client.confirm_totp(request).await?;
    Ok(app)
}

fn tally(run: &Run) -> &Tally {
    &run.siege.guesser
}

async fn guess(run: &Run, who: Who, app: &AuthenticatorApp, number: u64, open: &Open) {
    let Some(tenant) = run.tenants.get(who.0) else {
        return;
    };
    tally(run).attempt();
    let known = open.lock().get(&who).cloned();
    let challenge_id = match known {
        Some(known) => known,
        None => match ask(tenant, who, number).await {
            Ok(challenge_id) => {
                open.lock().insert(who, challenge_id.clone());
                challenge_id
            }
            Err(status) => return tally(run).refused(&status),
        },
    };
    let request = tenant.idp.authorized(VerifyCodeRequest {
        challenge_id,
        code: wrong_code(run, app, number),
    });
    let mut client = tenant.idp.client(number);
    match client.verify_code(timed(request, CALL_TIMEOUT)).await {
        Ok(response) => {
            let challenge = response.into_inner().challenge.unwrap_or_default();
            open.lock().remove(&who);
            if challenge.state() == ChallengeState::Approved {
                tally(run).accepted();
            } else {
                let reason = challenge.reason().as_str_name();
                let reason = reason.trim_start_matches("DECISION_REASON_");
                tally(run).refused_for(reason.to_owned());
            }
        }
        Err(status) => {
            if status.code() == tonic::Code::FailedPrecondition {
                open.lock().remove(&who);
            }
            tally(run).refused(&status);
        }
    }
}

async fn ask(tenant: &Tenant, who: Who, number: u64) -> Result<String, Status> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let user_id = tenant.population.user_id(who.1);
    let request = CreateChallengeRequest {
        method: Method::Totp.into(),
        ..Idp::typical_request(request_id, user_id)
    };
    let challenge = tenant.create(number, request).await?;
    Ok(challenge.challenge_id)
}

/// A code that is wrong for certain: one in a million would be right by chance,
/// and is no fault of the broker.
fn wrong_code(run: &Run, app: &AuthenticatorApp, number: u64) -> String {
    let now = step_at(SystemTime::now());
    let right: Vec<_> = (now.saturating_sub(3)..=now + 3)
        .map(|step| app.code(step))
        .collect();
    let mut dice = Dice::new(run.args.seed, Purpose::Attack, !number);
    loop {
        let code = format!("{:06}", dice.below(1_000_000));
        if !right.contains(&code) {
            return code;
        }
    }
}
