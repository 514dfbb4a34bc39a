//! Both libraries, which differ in names only: `apns-h2` is a fork of `a2`.

macro_rules! stock_client {
    ($module:ident, $library:ident, $title:ident, $body:ident, $sound:ident, $silent:ident) => {
        pub(crate) mod $module {
            use std::collections::BTreeMap;
            use std::error::Error;
            use std::fs::File;

            use futures_util::future::join_all;
            use serde::Serialize;
            use serde_json::{Map, Value};
            use $library::request::payload::PayloadLike;
            use $library::{
                Client, ClientConfig, CollapseId, DefaultNotificationBuilder, Endpoint,
                NotificationBuilder, NotificationOptions, Priority, PushType,
            };

            use crate::{Answer, ClientSettings, Payload, Plan, Push};

            pub(crate) async fn run(plan: Plan) -> Result<Vec<Answer>, Box<dyn Error>> {
                let mut clients = BTreeMap::new();
                for (name, settings) in plan.clients {
                    clients.insert(name, connect(settings)?);
                }
                let mut answers = Vec::new();
                for group in &plan.groups {
                    let pushes = group.iter().map(|push| {
                        let client = &clients[&push.client];
                        async move { send(client, push).await }
                    });
                    answers.extend(join_all(pushes).await);
                }
                Ok(answers)
            }

            fn connect(settings: ClientSettings) -> Result<Client, Box<dyn Error>> {
                let endpoint = match settings.sandbox {
                    true => Endpoint::Sandbox,
                    false => Endpoint::Production,
                };
                let mut key = File::open(settings.key_file)?;
                let config = ClientConfig::new(endpoint);
                Ok(Client::token(
                    &mut key,
                    settings.key_id,
                    settings.team_id,
                    config,
                )?)
            }

            #[derive(Serialize, Debug)]
            struct RawPayload<'a> {
                #[serde(flatten)]
                body: &'a Map<String, Value>,
                #[serde(skip)]
                token: &'a str,
                #[serde(skip)]
                options: NotificationOptions<'a>,
            }

            impl PayloadLike for RawPayload<'_> {
                fn get_device_token(&self) -> &str {
                    self.token
                }

                fn get_options(&self) -> &NotificationOptions<'_> {
                    &self.options
                }
            }

            async fn send(client: &Client, push: &Push) -> Answer {
                let mut options = NotificationOptions {
                    apns_id: push.id.as_deref(),
                    apns_topic: push.topic.as_deref(),
                    apns_expiration: push.expiration,
                    apns_priority: Some(match push.high {
                        true => Priority::High,
                        false => Priority::Normal,
                    }),
                    apns_push_type: Some(match &push.payload {
                        Payload::Alert { .. } => PushType::Alert,
                        Payload::Background => PushType::Background,
                        Payload::Raw { push_type, .. } => match push_type.as_str() {
                            "alert" => PushType::Alert,
                            "background" => PushType::Background,
                            other => return failed(format!("push type {other} is not used here")),
                        },
                    }),
                    ..NotificationOptions::default()
                };
                if let Some(id) = &push.collapse_id {
                    match CollapseId::new(id) {
                        Ok(id) => options.apns_collapse_id = Some(id),
                        Err(refused) => return failed(refused),
                    }
                }
                let builder = DefaultNotificationBuilder::new();
                let result = match &push.payload {
                    Payload::Alert { body } => {
                        let builder = builder.$title("Sign-in").$body(body).$sound("default");
                        client.send(builder.build(&push.token, options)).await
                    }
                    Payload::Background => {
                        let builder = builder.$silent();
                        client.send(builder.build(&push.token, options)).await
                    }
                    Payload::Raw { body, .. } => {
                        let token = &push.token;
                        client
                            .send(RawPayload {
                                body,
                                token,
                                options,
                            })
                            .await
                    }
                };
                let response = match result {
                    Ok(response) | Err($library::Error::ResponseError(response)) => response,
                    Err(error) => return failed(format!("{error:?}")),
                };
                Answer {
                    status: Some(response.code),
                    reason: response
                        .error
                        .as_ref()
                        .map(|error| format!("{:?}", error.reason)),
                    timestamp: response.error.and_then(|error| error.timestamp),
                    id: response.apns_id,
                    failure: None,
                }
            }

            fn failed(error: impl ToString) -> Answer {
                Answer {
                    failure: Some(error.to_string()),
                    ..Answer::default()
                }
            }
        }
    };
}

stock_client!(
    with_a2,
    a2,
    set_title,
    set_body,
    set_sound,
    set_content_available
);
stock_client!(with_apns_h2, apns_h2, title, body, sound, content_available);
