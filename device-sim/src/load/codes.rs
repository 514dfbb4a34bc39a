//! Users who type codes: what they have to be given for it before a run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use countersign_proto::v1::{
    AddPhoneRequest, ConfirmPhoneRequest, ListAuthenticatorsRequest, authenticator,
};
use futures_util::StreamExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tonic::Status;

use super::attackers::add_app;
use super::behaviour::Answer;
use super::inbox::Who;
use super::run::Run;
use super::schedule::Schedule;
use super::tenant::{CALL_TIMEOUT, Tenant, timed};
use crate::demo::authenticator_app::{AuthenticatorApp, step_at};
use crate::fetch::{FetchError, get_text};

/// Users who are given something to type codes from. Others who would need it
/// are told as failed.
const MOST: usize = 2_000;
/// Of them, at a time.
const AT_A_TIME: usize = 8;
/// How long a text message may be on its way, in seconds.
const TEXT_SECONDS: u64 = 10;

/// What users type codes from.
#[derive(Default)]
pub(super) struct Codes {
    apps: HashMap<Who, (AuthenticatorApp, AtomicU64)>,
    numbers: HashMap<Who, Number>,
}

/// A number that gets texts.
pub(super) struct Number {
    number: String,
    /// The last text that was read.
    seen: AtomicU64,
}

enum Given {
    App(AuthenticatorApp),
    Number(Number),
}

impl Codes {
    /// Gives those who will need it an authenticator app, or a number.
    pub(super) async fn give(run: &Run, schedule: Schedule) -> Self {
        let mut wanted: Vec<(Who, Answer)> = schedule
            .filter(|one| matches!(one.answer, Answer::Sms | Answer::Totp))
            .map(|one| ((one.tenant, one.user), one.answer))
            .take(MOST)
            .collect();
        wanted.sort_unstable_by_key(|(who, answer)| (*who, *answer == Answer::Sms));
        wanted.dedup();
        let mut codes = Self::default();
        let mut giving = futures_util::stream::iter(wanted)
            .map(|(who, answer)| async move { (who, give_one(run, who, answer).await) })
            .buffer_unordered(AT_A_TIME);
        while let Some((who, given)) = giving.next().await {
            match given {
                Ok(Some(Given::App(app))) => {
                    // The step in which it was confirmed is used up.
                    let step = step_at(SystemTime::now());
                    codes.apps.insert(who, (app, AtomicU64::new(step)));
                }
                Ok(Some(Given::Number(number))) => {
                    codes.numbers.insert(who, number);
                }
                Ok(None) => {}
                Err(status) => run.failed_call("registering what codes come from", &status),
            }
        }
        codes
    }

    /// The next code of a user's app, which is taken once.
    pub(super) fn totp(&self, who: Who) -> Option<String> {
        let (app, last) = self.apps.get(&who)?;
        let now = step_at(SystemTime::now());
        let step = now.max(last.load(Ordering::Relaxed) + 1);
        last.store(step, Ordering::Relaxed);
        Some(app.code(step))
    }

    /// The code in the next text to a user's number.
    pub(super) async fn text(&self, control: &str, who: Who) -> Option<Result<String, FetchError>> {
        let number = self.numbers.get(&who)?;
        Some(number.next_code(control).await)
    }
}

async fn give_one(run: &Run, who: Who, answer: Answer) -> Result<Option<Given>, Status> {
    let Some(tenant) = run.tenants.get(who.0) else {
        return Ok(None);
    };
    if answer == Answer::Totp {
        return add_app(tenant, who.1)
            .await
            .map(|app| Some(Given::App(app)));
    }
    let Some(control) = &run.args.target.gateways else {
        return Ok(None);
    };
    let number = Number {
        number: number_of(run.args.target.population, who),
        seen: AtomicU64::new(0),
    };
    let failed = |error: FetchError| Status::unavailable(error.to_string());
    number.skip(control).await.map_err(failed)?;
    add_number(tenant, who.1, &number, control).await?;
    Ok(Some(Given::Number(number)))
}

/// A Belgian mobile number for each user, few of one range.
fn number_of(population: u64, (tenant, user): Who) -> String {
    let spread = u64::try_from(tenant)
        .unwrap_or_default()
        .wrapping_add(population)
        .wrapping_mul(7_919)
        .wrapping_add(user);
    // 0470 to 0479, then six digits, of which three tell the range.
    let range = spread % 10_000;
    format!("+3247{range:04}{:03}", spread / 10_000 % 1000)
}

async fn add_number(
    tenant: &Tenant,
    user: u64,
    number: &Number,
    control: &str,
) -> Result<(), Status> {
    let user_id = tenant.population.user_id(user);
    let mut client = tenant.enrollments(user);
    let request = tenant.idp.authorized(ListAuthenticatorsRequest {
        user_id: user_id.clone(),
    });
    let listed = client
        .list_authenticators(timed(request, CALL_TIMEOUT))
        .await?;
    let mut listed = listed.into_inner().authenticators.into_iter();
    if listed.any(|one| matches!(one.kind, Some(authenticator::Kind::PhoneNumber(_)))) {
        // From an earlier run, of the same population.
        return Ok(());
    }
    let request = tenant.idp.authorized(AddPhoneRequest {
        user_id: user_id.clone(),
        phone_number: number.number.clone(),
        language: "en".to_owned(),
    });
    let added = client.add_phone(timed(request, CALL_TIMEOUT)).await?;
    let code = number.next_code(control).await;
    let code = code.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = tenant.idp.authorized(ConfirmPhoneRequest {
        user_id,
        authenticator_id: added
            .into_inner()
            .authenticator
            .unwrap_or_default()
            .authenticator_id,
        code,
    });
    client.confirm_phone(timed(request, CALL_TIMEOUT)).await?;
    Ok(())
}

impl Number {
    async fn texts(&self, control: &str, wait: u64) -> Result<Vec<Value>, FetchError> {
        let to = utf8_percent_encode(&self.number, NON_ALPHANUMERIC);
        let after = self.seen.load(Ordering::Relaxed);
        let control = control.trim_end_matches('/');
        let address = format!("{control}/sms/inbox?to={to}&after={after}&wait={wait}");
        let text = get_text(&address).await?;
        let texts: Vec<Value> = serde_json::from_str(&text)
            .map_err(|_| FetchError::malformed(&address, "it is no list of texts"))?;
        let last = texts.iter().filter_map(|text| text.get("seq")?.as_u64());
        if let Some(last) = last.max() {
            self.seen.fetch_max(last, Ordering::Relaxed);
        }
        Ok(texts)
    }

    /// What was texted before does not count.
    async fn skip(&self, control: &str) -> Result<(), FetchError> {
        self.texts(control, 0).await.map(drop)
    }

    async fn next_code(&self, control: &str) -> Result<String, FetchError> {
        let texts = self.texts(control, TEXT_SECONDS).await?;
        let text = texts.last().and_then(|text| text.get("text")?.as_str());
        // The code comes first.
        let digits = |text: &str| -> String {
            let start = text.trim_start_matches(|c: char| !c.is_ascii_digit());
            start.chars().take_while(char::is_ascii_digit).collect()
        };
        text.map(digits)
            .filter(|code| !code.is_empty())
            .ok_or_else(|| FetchError::malformed(control, "no text with a code came"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn everybody_has_a_number_of_their_own() {
        let numbers: HashSet<_> = (0..20_000).map(|user| number_of(1, (0, user))).collect();
        assert_eq!(numbers.len(), 20_000);
        assert!(numbers.iter().all(|number| number.len() == 12));
        let ranges: HashSet<_> = (0..1_000)
            .map(|user| number_of(1, (0, user)).chars().take(9).collect::<String>())
            .collect();
        assert_eq!(ranges.len(), 1_000, "no range twice among the first");
    }
}
