//! `device-sim gateways`: the emulated vendors in the terminal.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use tokio::sync::broadcast::error::RecvError;

use crate::fault::{FaultPlan, PlanError};
use crate::gateway::{
    ApnsTeam, Arrival, BROKER_HTTP, Encoding, GatewayClock, Gateways, GatewaysConfig,
    GatewaysError, UnknownGateway,
};

/// Runs emulators of APNs (production and sandbox), FCM and SMS gateways (REST, webhook, SMPP) until
/// Ctrl-C.
#[derive(Args, Clone, Debug)]
pub struct GatewaysArgs {
    /// Directory for signing keys, service accounts and the root certificate. What is there
    /// already is used again. Without it: a temporary directory, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub credentials: Option<PathBuf>,
    /// Address to listen on. Anything but loopback exposes the control page, which asks for no
    /// password.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// Name or address under which the broker reaches this machine.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Further name in the server certificate; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub hostname: Vec<String>,
    /// Port of APNs, production (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2197)]
    pub apns_port: u16,
    /// Port of APNs, sandbox (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2198)]
    pub apns_sandbox_port: u16,
    /// Port of FCM and its token endpoint (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2199)]
    pub fcm_port: u16,
    /// Port of the Twilio-shaped SMS gateway (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2200)]
    pub twilio_port: u16,
    /// Port of the SMS webhook (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2202)]
    pub webhook_port: u16,
    /// Port of the SMPP message centre (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2775)]
    pub smpp_port: u16,
    /// Port of the control page (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 2201)]
    pub control_port: u16,
    /// An app as TEAM_ID:KEY_ID:TOPIC; may be repeated.
    #[arg(
        long,
        value_name = "APP",
        default_value = "EXAMPLETM1:EXAMPLEKY1:be.example.countersign"
    )]
    pub app: Vec<App>,
    /// A Firebase project id; may be repeated.
    #[arg(long, value_name = "ID", default_value = "countersign-example")]
    pub project: Vec<String>,
    /// Take JWTs in plain or padded base64, pushes without apns-push-type, and background pushes
    /// with more than content-available, as the crates a2 and apns-h2 send them.
    #[arg(long)]
    pub lenient: bool,
    /// Run the emulators' clock ahead by so much: provider tokens look stale to them.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub clock_ahead: u64,
    /// Seed of the faults by share (default: random, printed).
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Faults to begin with, as GATEWAY=JSON; may be repeated. GATEWAY: apns, apns-sandbox, fcm,
    /// fcm-token, twilio, webhook, smpp. JSON as for PUT /faults on the control page.
    #[arg(long, value_name = "FAULTS")]
    pub faults: Vec<Faulty>,
    /// Print the broker's configuration for these gateways as TOML, alone on standard output.
    #[arg(long)]
    pub print_config: bool,
    /// Where the broker's HTTP port is, for delivery receipts of text messages (goes into the
    /// printed configuration).
    #[arg(long, value_name = "URL", default_value = BROKER_HTTP)]
    pub callback_url: String,
    /// Certificates (PEM) to trust for delivery receipts over https.
    #[arg(long, value_name = "FILE")]
    pub callback_ca_file: Option<PathBuf>,
}

/// An app on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    team_id: String,
    key_id: String,
    topic: String,
}

impl FromStr for App {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split(':').collect();
        match parts.as_slice() {
            [team, key, topic] if !team.is_empty() && !key.is_empty() && !topic.is_empty() => {
                Ok(Self {
                    team_id: (*team).to_owned(),
                    key_id: (*key).to_owned(),
                    topic: (*topic).to_owned(),
                })
            }
            _ => Err("expected TEAM_ID:KEY_ID:TOPIC".to_owned()),
        }
    }
}

/// Faults on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Faulty {
    gateway: String,
    plan: FaultPlan,
}

impl FromStr for Faulty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (gateway, json) = text.split_once('=').ok_or("expected GATEWAY=JSON")?;
        let plan = serde_json::from_str(json).map_err(|wrong| wrong.to_string())?;
        Ok(Self {
            gateway: gateway.to_owned(),
            plan,
        })
    }
}

/// Why `device-sim gateways` ended.
#[derive(Debug, thiserror::Error)]
pub enum GatewaysCommandError {
    /// The emulators did not start.
    #[error(transparent)]
    Start(#[from] GatewaysError),
    /// A fault plan can't be carried out.
    #[error("--faults: {0}")]
    Plan(#[from] PlanError),
    /// A fault plan for a gateway that doesn't exist.
    #[error("--faults: {0}")]
    Gateway(#[from] UnknownGateway),
    /// The terminal or the signal handler.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the emulators until Ctrl-C.
///
/// # Errors
/// A port is taken, a file can't be written, or a fault plan is wrong.
pub async fn run(args: GatewaysArgs) -> Result<(), GatewaysCommandError> {
    let at = |port| SocketAddr::new(args.listen, port);
    let mut teams: Vec<ApnsTeam> = Vec::new();
    for App {
        team_id,
        key_id,
        topic,
    } in args.app
    {
        match teams
            .iter_mut()
            .find(|team| team.team_id == team_id && team.key_id == key_id)
        {
            Some(team) => team.topics.push(topic),
            None => teams.push(ApnsTeam {
                team_id,
                key_id,
                topics: vec![topic],
            }),
        }
    }
    let gateways = Gateways::start(GatewaysConfig {
        apns: at(args.apns_port),
        apns_sandbox: at(args.apns_sandbox_port),
        fcm: at(args.fcm_port),
        twilio: at(args.twilio_port),
        webhook: at(args.webhook_port),
        smpp: at(args.smpp_port),
        callback_root_ca: args.callback_ca_file,
        control: at(args.control_port),
        host: args.host,
        hostnames: args.hostname,
        credentials: args.credentials,
        teams,
        projects: args.project,
        jwt_encoding: if args.lenient {
            Encoding::Lenient
        } else {
            Encoding::Strict
        },
        seed: args.seed,
        clock: clock_ahead(Duration::from_secs(args.clock_ahead)),
        ..GatewaysConfig::default()
    })
    .await?;
    for Faulty { gateway, plan } in args.faults {
        gateways.faults(&gateway)?.set(plan)?;
    }
    let mut arrivals = gateways.arrivals();
    say(&greeting(&gateways))?;
    if args.print_config {
        let mut out = io::stdout().lock();
        out.write_all(gateways.broker_toml().as_bytes())?;
        out.write_all(gateways.sms_toml(&args.callback_url).as_bytes())?;
        out.flush()?;
    }
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            done = &mut interrupt => {
                done?;
                say("stopped\n")?;
                return Ok(());
            }
            arrival = arrivals.recv() => match arrival {
                Ok(arrival) => say(&line(&arrival))?,
                Err(RecvError::Lagged(missed)) => say(&format!("({missed} more)\n"))?,
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

fn clock_ahead(by: Duration) -> GatewayClock {
    let system = GatewayClock::system();
    GatewayClock::from_fn(move || UNIX_EPOCH + Duration::from_millis(system.now_ms()) + by)
}

/// Standard output is for the configuration alone.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn greeting(gateways: &Gateways) -> String {
    let sms = gateways.sms();
    let mut text = format!(
        "APNs production  {}\nAPNs sandbox     {}\nFCM              {}\n\
         SMS by REST      {} (as Twilio)\nSMS by webhook   {}\nSMS by SMPP      {}\n\
         control page     http://{}/\ntext messages    http://{}/sms\ncredentials      {}\n\
         seed             {}\n",
        gateways.apns().url(),
        gateways.apns_sandbox().url(),
        gateways.fcm().url(),
        sms.twilio().url(),
        sms.webhook().url(),
        sms.smpp().addr(),
        gateways.control_addr(),
        gateways.control_addr(),
        gateways.credentials().dir().display(),
        gateways.seed(),
    );
    for key in gateways.credentials().apns_keys() {
        text += &format!("team {} key {}\n", key.team_id, key.key_id);
    }
    for account in gateways.credentials().fcm_accounts() {
        text += &format!(
            "project {} as {}\n",
            account.project_id, account.client_email
        );
    }
    text += &format!(
        "twilio account {} password {}\nwebhook secret {}\nsmpp system_id {} password {}\n\n",
        sms.twilio().account_sid(),
        sms.twilio().auth_token(),
        sms.webhook().secret(),
        sms.smpp().system_id(),
        sms.smpp().password(),
    );
    text
}

/// One arrival on one line: time (UTC), gateway, outcome, id, app, shortened token.
fn line(arrival: &Arrival) -> String {
    let seconds = arrival.time_ms / 1000 % 86_400;
    let clock = format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        arrival.time_ms % 1000
    );
    let status = if arrival.status == 0 {
        "---".to_owned()
    } else {
        arrival.status.to_string()
    };
    let reason = arrival.reason.clone().or_else(|| {
        arrival
            .fate
            .map(|fate| format!("{fate:?}").to_ascii_lowercase())
    });
    let mut line = format!(
        "{clock}  {:<12}  {status}  {:<22}  {}  {}  {}",
        arrival.gateway,
        reason.unwrap_or_default(),
        or_dash(&arrival.id),
        or_dash(&arrival.app_id),
        or_dash(&shortened(&arrival.token)),
    );
    if let Some(fault) = &arrival.fault {
        line += &format!("  fault: {fault}");
    }
    line.push('\n');
    line
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn shortened(token: &str) -> String {
    let count = token.chars().count();
    if count <= 16 {
        return token.to_owned();
    }
    let first: String = token.chars().take(8).collect();
    let last: String = token.chars().skip(count - 4).collect();
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )]
    use super::*;
    use crate::gateway::Fate;

    #[test]
    fn arrival_on_a_line() {
        let arrival = Arrival {
            time_ms: 1_000 * (2 * 86_400 + 3 * 3600 + 4 * 60 + 5) + 6,
            gateway: "apns",
            status: 200,
            id: "ID".to_owned(),
            app_id: "be.example".to_owned(),
            token: "0123456789abcdef0123456789abcdef".to_owned(),
            fate: Some(Fate::Stored),
            fault: Some("latency".to_owned()),
            ..Arrival::default()
        };
        assert_eq!(
            line(&arrival),
            "03:04:05.006  apns          200  stored                  ID  be.example  \
             01234567…cdef  fault: latency\n"
        );
    }

    #[test]
    fn apps_and_faults_from_the_command_line() {
        let app: App = "T:K:be.example".parse().unwrap();
        assert_eq!(app.topic, "be.example");
        assert!("T:K".parse::<App>().is_err());
        let faulty: Faulty = r#"fcm={"down":true}"#.parse().unwrap();
        assert!(faulty.plan.down);
        assert!("fcm".parse::<Faulty>().is_err());
    }
}
