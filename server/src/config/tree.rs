//! The configuration before it is given types: the file's values with the
//! environment's laid over them, each knowing where it comes from.

use std::{collections::BTreeMap, ffi::OsString, ops::Range, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Source};

/// What every environment variable of the broker begins with.
const PREFIX: &str = "COUNTERSIGN_";

/// Variables of the command line, which are no configuration keys.
pub const COMMAND_LINE_VARIABLES: [&str; 7] = [
    "COUNTERSIGN_CONFIG",
    "COUNTERSIGN_ADDRESS",
    "COUNTERSIGN_ADMIN_KEY",
    "COUNTERSIGN_API_KEY",
    "COUNTERSIGN_CA_FILE",
    "COUNTERSIGN_CLIENT_CERTIFICATE_FILE",
    "COUNTERSIGN_CLIENT_KEY_FILE",
];

pub(super) struct Node {
    pub(super) source: Source,
    pub(super) value: Value,
}

pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    /// By position. Has gaps when the environment names elements that don't follow.
    List(BTreeMap<usize, Node>),
    String(String),
    Integer(i64),
    Bool(bool),
    /// From the environment: whatever type the key has.
    Text(String),
    /// Of a type that no key has.
    Other(&'static str),
}

impl Value {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::List(_) => "an array",
            Self::String(_) | Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Bool(_) => "a boolean",
            Self::Other(name) => name,
        }
    }
}

/// A configuration file's name, for messages, and its content.
#[derive(Clone, Copy, Debug)]
pub struct ConfigFile<'a> {
    /// As it was named on the command line.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// Reads a file; what can't be read of it is reported and left out.
pub(super) fn from_file(file: ConfigFile<'_>, faults: &mut Vec<Fault>) -> Node {
    let place = Place {
        name: file.name.into(),
        text: file.text,
    };
    let (table, errors) = DeTable::parse_recoverable(file.text);
    for error in errors {
        faults.push(Fault {
            source: place.at(error.span().unwrap_or_default()),
            key: String::new(),
            message: format!("not valid TOML: {}", error.message()),
        });
    }
    let span = table.span();
    place.table(table.into_inner(), span)
}

struct Place<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl Place<'_> {
    fn at(&self, span: Range<usize>) -> Source {
        let before = self.text.as_bytes().iter().take(span.start);
        Source::File {
            name: Arc::clone(&self.name),
            line: before.filter(|byte| **byte == b'\n').count() + 1,
        }
    }

    fn table(&self, table: DeTable<'_>, span: Range<usize>) -> Node {
        let nodes = table.into_iter().map(|(key, value)| {
            let mut node = self.value(value.get_ref().clone(), value.span());
            // The key's line, not the value's: a value can begin lines below.
            node.source = self.at(key.span());
            (key.into_inner().into_owned(), node)
        });
        Node {
            value: Value::Table(nodes.collect()),
            source: self.at(span),
        }
    }

    fn value(&self, value: DeValue<'_>, span: Range<usize>) -> Node {
        let source = self.at(span.clone());
        let value = match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => Value::Other("an integer beyond 64 bits"),
                }
            }
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Boolean(boolean) => Value::Bool(boolean),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(array) => Value::List(
                array
                    .into_iter()
                    .map(|item| self.value(item.get_ref().clone(), item.span()))
                    .enumerate()
                    .collect(),
            ),
            DeValue::Table(table) => return self.table(table, span),
        };
        Node { source, value }
    }
}

/// Lays the `COUNTERSIGN_` variables over `root`.
pub(super) fn lay_environment_over(
    root: &mut Node,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Vec<Fault>,
) {
    let mut variables: Vec<(String, Option<String>)> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
        .filter(|(name, _)| is_configuration(name))
        .collect();
    variables.sort();
    for (name, value) in variables {
        let path = name.trim_start_matches(PREFIX).to_ascii_lowercase();
        let Some(value) = value else {
            faults.push(Fault {
                key: path.replace("__", "."),
                source: Source::Environment(name),
                message: "not UTF-8".to_owned(),
            });
            continue;
        };
        let segments: Vec<&str> = path.split("__").collect();
        put(root, &segments, &name, value);
    }
}

fn is_configuration(name: &str) -> bool {
    name.starts_with(PREFIX) && !COMMAND_LINE_VARIABLES.contains(&name) && !is_service_link(name)
}

/// Variables that Kubernetes and Docker links set by themselves when a service
/// is called `countersign…`, such as `COUNTERSIGN_SERVICE_HOST` and
/// `COUNTERSIGN_GRPC_PORT_7700_TCP_ADDR`
/// (kubernetes.io, "Service", "Environment variables").
fn is_service_link(name: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let name = format!("_{}", name.trim_start_matches(PREFIX));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || ["_TCP", "_UDP", "_SCTP"]
            .iter()
            .any(|protocol| name.contains("_PORT_") && name.contains(protocol))
}

fn put(node: &mut Node, path: &[&str], variable: &str, text: String) {
    let source = || Source::Environment(variable.to_owned());
    let Some((first, rest)) = path.split_first() else {
        *node = Node {
            source: source(),
            value: Value::Text(text),
        };
        return;
    };
    let position = first.parse::<usize>().ok();
    if !matches!(node.value, Value::Table(_) | Value::List(_)) {
        // What stood here is replaced: the environment has the last word.
        node.source = source();
        node.value = if position.is_some() {
            Value::List(BTreeMap::new())
        } else {
            Value::Table(BTreeMap::new())
        };
    }
    let empty = || Node {
        source: source(),
        value: Value::Other("nothing"),
    };
    let child = match (&mut node.value, position) {
        (Value::List(nodes), Some(position)) => nodes.entry(position).or_insert_with(empty),
        (Value::Table(nodes), _) => nodes.entry((*first).to_owned()).or_insert_with(empty),
        _ => {
            // A name where an element's number is wanted.
            *node = Node {
                source: source(),
                value: Value::Other("a table"),
            };
            return;
        }
    };
    put(child, rest, variable, text);
}
