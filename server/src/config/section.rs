//! Takes typed values out of the tree, noting every fault instead of stopping
//! at the first.

use std::{
    cell::RefCell, collections::BTreeMap, fmt::Display, net::SocketAddr, ops::RangeInclusive,
    path::PathBuf, time::Duration,
};

use super::{
    fault::{Fault, Source},
    tree::{Node, Value},
};

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

/// A key of the configuration as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, such as `grpc.listen`.
    pub key: String,
    /// Its value as TOML would write it. No key holds a secret.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// What reading has brought to light so far.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) faults: RefCell<Vec<Fault>>,
    pub(super) settings: RefCell<Vec<Setting>>,
}

impl Findings {
    pub(super) fn fault(&self, source: Source, key: impl Into<String>, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault {
            source,
            key: key.into(),
            message: message.into(),
        });
    }

    pub(super) fn setting(&self, key: String, value: impl Display, source: Source) {
        self.settings.borrow_mut().push(Setting {
            key,
            value: value.to_string(),
            source,
        });
    }
}

/// One table. Every key must be asked for before [`Section::finish`], which
/// reports those left.
pub(super) struct Section<'a> {
    path: String,
    source: Source,
    is_table: bool,
    nodes: BTreeMap<String, Node>,
    set: BTreeMap<String, Source>,
    known: Vec<&'static str>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    pub(super) fn root(node: Node, findings: &'a Findings) -> Self {
        Self::new(String::new(), Some(node), findings)
    }

    fn new(path: String, node: Option<Node>, findings: &'a Findings) -> Self {
        let mut is_table = true;
        let (source, nodes) = match node {
            None => (Source::Default, BTreeMap::new()),
            Some(Node {
                source,
                value: Value::Table(nodes),
            }) => (source, nodes),
            Some(Node { source, value }) => {
                let message = format!("must be a table, not {}", value.type_name());
                findings.fault(source.clone(), path.clone(), message);
                is_table = false;
                (source, BTreeMap::new())
            }
        };
        Self {
            path,
            source,
            is_table,
            set: nodes
                .iter()
                .map(|(key, node)| (key.clone(), node.source.clone()))
                .collect(),
            nodes,
            known: Vec::new(),
            findings,
        }
    }

    /// The full name of `key` in this table.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(super) fn source(&self) -> Source {
        self.source.clone()
    }

    pub(super) fn fault(&self, source: Source, key: &str, message: impl Into<String>) {
        self.findings.fault(source, self.name(key), message);
    }

    /// Reports a fault of a key in another table.
    pub(super) fn fault_at(&self, source: Source, key: String, message: String) {
        self.findings.fault(source, key, message);
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.nodes.remove(key)
    }

    /// A table below this one; empty when it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let node = self.take(key);
        Section::new(self.name(key), node, self.findings)
    }

    /// The tables of an array.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(Node { source, value }) = self.take(key) else {
            return Vec::new();
        };
        let Value::List(nodes) = value else {
            let message = format!("must be an array of tables, not {}", value.type_name());
            self.fault(source, key, message);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (expected, (position, node)) in nodes.into_iter().enumerate() {
            if position != expected {
                let message = format!("element {position} without element {expected}");
                self.fault(node.source, key, message);
                break;
            }
            let path = format!("{}.{position}", self.name(key));
            sections.push(Section::new(path, Some(node), self.findings));
        }
        sections
    }

    /// The value of `key` as `read` makes it out; `None` when it is not set or
    /// faulty, which is noted.
    fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<(T, String), String>,
    ) -> Option<Located<T>> {
        let Node { source, value } = self.take(key)?;
        match read(&value) {
            Ok((value, shown)) => {
                self.findings.setting(self.name(key), shown, source.clone());
                Some(Located { value, source })
            }
            Err(message) => {
                self.fault(source, key, message);
                None
            }
        }
    }

    /// As [`Section::get`]; `default` when it gives nothing.
    fn get_or<T>(
        &mut self,
        key: &'static str,
        default: (T, String),
        read: impl FnOnce(&Value) -> Result<(T, String), String>,
    ) -> Located<T> {
        self.get(key, read).unwrap_or_else(|| {
            if !self.is_set(key) {
                self.findings
                    .setting(self.name(key), default.1, Source::Default);
            }
            Located {
                value: default.0,
                source: Source::Default,
            }
        })
    }

    /// Text of at least one character and at most one line.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        self.get(key, |value| {
            let text = one_line(value)?;
            Ok((text.to_owned(), quoted(text)))
        })
    }

    /// A table of texts under names of the operator's choice, as written in the
    /// file; from the environment, underscores stand for dashes.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(String, String)> {
        let table = self.section(key);
        let mut texts = Vec::new();
        for (name, Node { source, value }) in &table.nodes {
            match one_line(value) {
                Ok(text) => {
                    let name = match value {
                        Value::Text(_) => name.replace('_', "-"),
                        _ => name.clone(),
                    };
                    let setting = table.name(&name);
                    self.findings.setting(setting, quoted(text), source.clone());
                    texts.push((name, text.to_owned()));
                }
                Err(message) => table.fault(source.clone(), name, message),
            }
        }
        texts
    }

    /// Where `key` was set, or else this table.
    pub(super) fn source_of(&self, key: &str) -> Source {
        self.set.get(key).cloned().unwrap_or_else(|| self.source())
    }

    /// Whether a fault of `key` was found already.
    pub(super) fn is_reported(&self, key: &str) -> bool {
        let name = self.name(key);
        let faults = self.findings.faults.borrow();
        faults.iter().any(|fault| fault.key == name)
    }

    /// Whether `key` was set, rightly or wrongly, before it was taken.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.set.contains_key(key)
    }

    /// Reports `key` when nobody set it.
    pub(super) fn require(&self, key: &str) {
        if self.is_table && !self.is_set(key) {
            self.fault(self.source(), key, "is missing");
        }
    }

    /// Text that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        self.get(key, |value| {
            let text = one_line(value)?;
            Ok((parse(text)?, quoted(text)))
        })
    }

    /// As [`Section::parsed`], with a default.
    pub(super) fn parsed_or<T>(
        &mut self,
        key: &'static str,
        default: (T, &str),
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Located<T> {
        self.get_or(key, (default.0, quoted(default.1)), |value| {
            let text = one_line(value)?;
            Ok((parse(text)?, quoted(text)))
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&'static str, T)],
        fallback: T,
    ) -> Located<T> {
        self.parsed_or(key, (fallback, default), |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<String> = choices.iter().map(|(word, _)| quoted(word)).collect();
                format!("must be one of {}, not {}", words.join(", "), quoted(text))
            })
        })
    }

    /// A path, relative to the working directory.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Located<PathBuf>> {
        self.get(key, |value| {
            // The contents pasted where the path belongs would be a secret.
            if string(value)?.contains("-----BEGIN") {
                return Err("must be the path of a file, not what is in it".to_owned());
            }
            let text = one_line(value)?;
            Ok((PathBuf::from(text), quoted(text)))
        })
    }

    /// A path with a default.
    pub(super) fn path_or(&mut self, key: &'static str, default: &str) -> PathBuf {
        if !self.is_set(key) {
            self.findings
                .setting(self.name(key), quoted(default), Source::Default);
        }
        self.path(key)
            .map_or_else(|| PathBuf::from(default), |path| path.value)
    }

    /// An address to listen on.
    pub(super) fn address_or(
        &mut self,
        key: &'static str,
        default: SocketAddr,
    ) -> Located<SocketAddr> {
        self.parsed_or(key, (default, &default.to_string()), |text| {
            text.parse().map_err(|_| {
                format!(
                    "must be an IP address and a port such as {default}, not {}",
                    quoted(text)
                )
            })
        })
    }

    /// Address and port, where there is one.
    pub(super) fn address(&mut self, key: &'static str) -> Option<Located<SocketAddr>> {
        self.parsed(key, |text| {
            text.parse()
                .map_err(|_| format!("must be an IP address and a port, not {}", quoted(text)))
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Located<bool> {
        self.get_or(key, (false, "false".to_owned()), |value| {
            let flag = match value {
                Value::Bool(flag) => *flag,
                Value::Text(text) if text == "true" => true,
                Value::Text(text) if text == "false" => false,
                Value::Text(_) => return Err("must be true or false".to_owned()),
                other => return Err(format!("must be true or false, not {}", other.type_name())),
            };
            Ok((flag, flag.to_string()))
        })
    }

    /// A whole number within `range`.
    pub(super) fn number_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let shown = default.to_string();
        self.get_or(key, (default, shown), |value| whole_number(value, &range))
            .value
    }

    /// A whole number within `range`, if it is set.
    pub(super) fn number<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let number = self.get(key, |value| whole_number(value, &range));
        number.map(|number| number.value)
    }

    /// A span of time within `range`, written such as `500ms`, `30s`, `5m` or `1h`.
    pub(super) fn span_or(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: [&'static str; 2],
    ) -> Duration {
        let [least, most] = range;
        let fallback = time_span(default).unwrap_or_default();
        self.parsed_or(key, (fallback, default), |text| {
            time_span(text)
                .filter(|span| {
                    Some(*span) >= time_span(least) && Some(*span) <= time_span(most)
                })
                .ok_or_else(|| {
                    format!(
                        "must be a time span such as 500ms, 30s, 5m, 1h or 30d, from {least} to {most}, not {}",
                        quoted(text)
                    )
                })
        })
        .value
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(self) {
        for (key, node) in &self.nodes {
            let likeness = |known: &&&str| strsim::jaro(key, known);
            let nearest = self
                .known
                .iter()
                .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
                .filter(|known| likeness(known) > 0.8);
            let mut message = "unknown key".to_owned();
            if let Some(known) = nearest {
                message.push_str(&format!(", did you mean {}?", self.name(known)));
            }
            self.fault(node.source.clone(), key, message);
        }
    }
}

fn whole_number<T>(value: &Value, range: &RangeInclusive<T>) -> Result<(T, String), String>
where
    T: TryFrom<i64> + PartialOrd + Display + Copy,
{
    let number = match value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        other => return Err(format!("must be a whole number, not {}", other.type_name())),
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .map(|number| (number, number.to_string()))
        .ok_or_else(|| {
            format!(
                "must be a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
}

fn string(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) | Value::Text(text) => Ok(text),
        other => Err(format!("must be a string, not {}", other.type_name())),
    }
}

fn one_line(value: &Value) -> Result<&str, String> {
    let text = string(value)?;
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("must be a single line without control characters".to_owned());
    }
    Ok(text)
}

/// As TOML writes a string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reads a span of time written such as `500ms`, `30s`, `5m`, `1h` or `30d`.
pub(crate) fn time_span(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match text.strip_prefix(digits)? {
        "ms" => number,
        "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        "d" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(milliseconds))
}
