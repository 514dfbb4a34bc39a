//! The contract as the broker itself tells it, by server reflection, so that a
//! test can't forget what was added since.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use tonic::transport::Channel;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// One rpc.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// Full method name, as in `:path`.
    pub path: String,
    /// Full name of its request message.
    pub input: String,
    /// Whether requests are a stream.
    pub client_streaming: bool,
}

/// Everything that the broker serves.
#[derive(Debug, Default)]
pub struct Contract {
    pub services: BTreeSet<String>,
    pub rpcs: Vec<Rpc>,
    messages: BTreeMap<String, DescriptorProto>,
}

/// A field somewhere below a message.
#[derive(Clone, Debug)]
pub struct Field {
    /// As in `BadRequest`, e.g. `context.details[0].label`.
    pub path: String,
    /// Tag numbers from the outermost message inwards.
    pub tags: Vec<u32>,
    /// What it is; the last one for a path.
    pub kind: Type,
    /// Of messages and enums.
    pub type_name: String,
}

impl Contract {
    /// Asks the broker.
    pub async fn ask(channel: Channel) -> Self {
        let mut client = ServerReflectionClient::new(channel);
        let mut contract = Self::default();
        let listed = ask(&mut client, MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(listed) = listed else {
            panic!("{listed:?}");
        };
        let mut files = BTreeMap::new();
        for service in listed.service {
            let symbol = MessageRequest::FileContainingSymbol(service.name.clone());
            contract.services.insert(service.name);
            load(&mut client, symbol, &mut files).await;
        }
        for file in files.values() {
            contract.add(file);
        }
        contract
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        for message in &file.message_type {
            let name = format!("{}.{}", file.package(), message.name());
            self.messages.insert(name, message.clone());
        }
        for service in &file.service {
            let full = format!("{}.{}", file.package(), service.name());
            if !self.services.contains(&full) {
                continue;
            }
            for method in &service.method {
                self.rpcs.push(Rpc {
                    path: format!("/{full}/{}", method.name()),
                    input: method.input_type().trim_start_matches('.').to_owned(),
                    client_streaming: method.client_streaming(),
                });
            }
        }
    }

    /// Every field of `message`, those of messages inside it too.
    pub fn fields(&self, message: &str) -> Vec<Field> {
        let mut found = Vec::new();
        self.collect(message, "", &[], &mut found);
        found
    }

    fn collect(&self, message: &str, prefix: &str, tags: &[u32], found: &mut Vec<Field>) {
        let described = self
            .messages
            .get(message)
            .unwrap_or_else(|| panic!("{message} is not described"));
        for field in &described.field {
            let field = describe(field, prefix, tags);
            let inside = self.messages.contains_key(&field.type_name)
                && !field.type_name.starts_with("google.protobuf.");
            if field.kind == Type::Message && inside {
                self.collect(
                    &field.type_name,
                    &format!("{}.", field.path),
                    &field.tags,
                    found,
                );
            }
            found.push(field);
        }
    }
}

fn describe(field: &FieldDescriptorProto, prefix: &str, tags: &[u32]) -> Field {
    let index = if field.label() == Label::Repeated {
        "[0]"
    } else {
        ""
    };
    let mut tags = tags.to_vec();
    tags.push(u32::try_from(field.number()).unwrap());
    Field {
        path: format!("{prefix}{}{index}", field.name()),
        tags,
        kind: field.r#type(),
        type_name: field.type_name().trim_start_matches('.').to_owned(),
    }
}

async fn ask(
    client: &mut ServerReflectionClient<Channel>,
    request: MessageRequest,
) -> MessageResponse {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

/// A file and those it depends on.
async fn load(
    client: &mut ServerReflectionClient<Channel>,
    request: MessageRequest,
    files: &mut BTreeMap<String, FileDescriptorProto>,
) {
    let mut wanted = vec![request];
    while let Some(request) = wanted.pop() {
        let MessageResponse::FileDescriptorResponse(answer) = ask(client, request.clone()).await
        else {
            panic!("{request:?} is not described");
        };
        for file in answer.file_descriptor_proto {
            let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
            for needed in &file.dependency {
                if !files.contains_key(needed) {
                    wanted.push(MessageRequest::FileByFilename(needed.clone()));
                }
            }
            files.insert(file.name().to_owned(), file);
        }
    }
}
