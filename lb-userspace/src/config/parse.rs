//! From text to a valid configuration. Every error is one line that starts with the file and, where there is one, the
//! line in it.
//!
//! The document is read twice: serde makes the types from it, and the tree of values with their spans stays beside, to
//! turn an offset into a name (`service "web", backend "b1": weight`) and a place into a line.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::Path,
};

use serde::{Deserialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer, Error},
};

use super::{
    check::CheckSpec,
    health::HealthSpec,
    health_change::HealthChange,
    invalid::{Invalid, Step},
    model::Config,
    value::quoted,
};
use crate::output;

/// Longest error; what goes beyond is somebody's text.
const LONGEST: usize = 500;
/// What there may be several of, each a table.
const LISTS: &[&str] = &["interface", "vip", "service", "check", "backend"];
/// Largest file that is read, in MiB: far more than all services and backends that ever fit.
const LARGEST: u64 = 64;

impl CheckSpec {
    /// A check from its fields as text. The error says which of them is wrong, as it would of a file.
    ///
    /// # Errors
    /// When a field is unknown, or its value is no good.
    pub fn from_fields(fields: &[(String, String)]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Written {
            check: CheckSpec,
        }
        read_fields::<Written>("check", fields).map(|written| written.check)
    }
}

impl HealthSpec {
    /// What is made of results, from its fields as text, those of inner tables with a dot in their names.
    ///
    /// # Errors
    /// When a field is unknown, or its value is no good.
    pub fn from_fields(fields: &[(String, String)]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Written {
            health: HealthSpec,
        }
        let health = read_fields::<Written>("health", fields)?.health;
        health
            .check()
            .map_err(|invalid| invalid.of("health").to_string())?;
        Ok(health)
    }
}

impl HealthChange {
    /// What is to change of what is made of results, from its fields as text, those of inner tables with a dot in their names.
    ///
    /// # Errors
    /// When a field is unknown, or its value is no good for any service.
    pub fn from_fields(fields: &[(String, String)]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Written {
            health: HealthChange,
        }
        let health = read_fields::<Written>("health", fields)?.health;
        health
            .check()
            .map_err(|invalid| invalid.of("health").to_string())?;
        Ok(health)
    }
}

/// Reads a table of this name as it would stand in a file.
fn read_fields<T: DeserializeOwned>(name: &str, fields: &[(String, String)]) -> Result<T, String> {
    let mut table = toml::Table::new();
    for (field, text) in fields {
        let (around, key) = match field.split_once('.') {
            Some((inner, key)) => {
                let inner = table.entry(inner).or_insert_with(|| toml::Table::new().into());
                let Some(inner) = inner.as_table_mut() else {
                    return Err(format!("{name}: {field}: is given twice: give it once"));
                };
                (inner, key)
            }
            None => (&mut table, field.as_str()),
        };
        if around.contains_key(key) {
            return Err(format!("{name}: {field}: is given twice: give it once"));
        }
        around.insert(key.to_owned(), value_of(key, text));
    }
    let mut document = toml::Table::new();
    document.insert(name.to_owned(), table.into());
    let text = document.to_string();
    let root = DeTable::parse(&text).map_err(|error| one_line(error.message()))?;
    T::deserialize(Deserializer::from(root.clone())).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        one_line(&explain(find(root.get_ref(), at), at, error.message()).1)
    })
}

/// A value as a file would write it: without quotes where it reads as a number or a truth, but for what is text anyway.
fn value_of(field: &str, text: &str) -> toml::Value {
    const TEXTS: &[&str] = &[
        "send",
        "send_hex",
        "expect",
        "expect_regex",
        "body",
        "body_regex",
        "status",
        "host",
        "path",
        "version",
        "server_name",
        "ca",
        "grpc_service",
        "query",
    ];
    if field == "command" {
        return text
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into();
    }
    if TEXTS.contains(&field) {
        return text.into();
    }
    match (text.parse::<i64>(), text.parse::<f64>(), text.parse::<bool>()) {
        (Ok(number), ..) if field == "phi" => toml::Value::Float(number as f64),
        (Ok(number), ..) => number.into(),
        (_, Ok(number), _) if field == "phi" => number.into(),
        (.., Ok(truth)) => truth.into(),
        _ => text.into(),
    }
}

/// Why a configuration cannot be used: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    line: Option<usize>,
    message: String,
}

impl Config {
    /// Reads a configuration from a file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let file = path.as_ref().display().to_string();
        let text = read(path.as_ref()).map_err(|problem| ConfigError::new(&file, None, &problem))?;
        Self::parse(&text, &file)
    }

    /// Reads a configuration from text; `file` is what errors call it.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
        let malformed = |error: &Error, message: &str| {
            ConfigError::new(file, error.span().map(|span| line(span.start)), message)
        };
        let root = DeTable::parse(text).map_err(|error| {
            let twice = given_twice(&error, text);
            malformed(&error, twice.as_deref().unwrap_or_else(|| error.message()))
        })?;
        let config = Self::deserialize(Deserializer::from(root.clone())).map_err(|error| {
            let Some(span) = error.span() else {
                return malformed(&error, error.message());
            };
            let found = find(root.get_ref(), span.start);
            let (offset, message) = explain(found, span.start, error.message());
            ConfigError::new(file, Some(line(offset)), &message)
        })?;
        config.validate().map_err(|invalid| {
            ConfigError::new(file, offset(&root, &invalid).map(line), &invalid.to_string())
        })?;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map(|file| file.take(LARGEST << 20));
    match file.and_then(|mut file| Ok((file.read_to_string(&mut text)?, file.limit()))) {
        Ok((_, 0)) => Err(format!(
            "{LARGEST} MiB and more are no configuration: name another file"
        )),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err("is not UTF-8 text: save it as UTF-8, or name another file".to_owned())
        }
        Err(error) => Err(format!("cannot be read ({error}): name a file that can")),
    }
}

impl ConfigError {
    fn new(file: &str, line: Option<usize>, message: &str) -> Self {
        Self {
            file: one_line(file),
            line,
            message: one_line(message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, message } = self;
        match line {
            Some(line) => write!(f, "{file}:{line}: {message}"),
            None => write!(f, "{file}: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// `text` without line breaks and other control characters, and not endless.
fn one_line(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().split('\n').map(output::printable).collect();
    output::cut(lines.join(", "), LONGEST)
}

/// What to do about a key or the head of a table that is there already, if that is the error.
fn given_twice(error: &Error, text: &str) -> Option<String> {
    let span = error.span().filter(|_| error.message() == "duplicate key")?;
    let line = text.get(..span.start)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(line..)?.lines().next()?.trim_start();
    let head = line.strip_prefix('[').and_then(|head| head.split(']').next());
    let Some(head) = head else {
        return Some(format!("{}: is given twice: give it once", text.get(span)?));
    };
    let name = head.trim_start_matches('[');
    Some(match name.rsplit('.').next() {
        Some(last) if LISTS.contains(&last) => {
            format!("[{name}]: is given twice: give each a head like [[{name}]]")
        }
        _ => format!("[{name}]: is given twice: write both in one"),
    })
}

/// A value that an offset is in.
#[derive(Default)]
struct Found<'a> {
    /// The tables around it, as errors name them.
    things: Vec<String>,
    /// The value's own key, unless it is itself a table.
    field: Option<&'a str>,
    table: Option<&'a DeTable<'a>>,
}

/// The innermost value, key or table head at `offset`.
fn find<'a>(root: &'a DeTable<'a>, offset: usize) -> Found<'a> {
    let mut deepest = Found {
        table: Some(root),
        ..Found::default()
    };
    search(root, offset, &mut Vec::new(), &mut deepest);
    deepest
}

fn search<'a>(table: &'a DeTable<'a>, offset: usize, things: &mut Vec<String>, deepest: &mut Found<'a>) {
    let within = |span: Range<usize>| span.contains(&offset);
    for (key, value) in table {
        let name: &str = key.get_ref();
        let tables: Vec<_> = match value.get_ref() {
            DeValue::Table(inner) => vec![(name.to_owned(), value.span(), inner)],
            DeValue::Array(list) => list
                .iter()
                .enumerate()
                .filter_map(|(at, element)| match element.get_ref() {
                    DeValue::Table(inner) => Some((label(name, at, inner), element.span(), inner)),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        if tables.is_empty()
            && (within(key.span()) || within(value.span()))
            && things.len() >= deepest.things.len()
        {
            *deepest = Found {
                things: things.clone(),
                field: Some(name),
                table: Some(table),
            };
        }
        for (thing, span, inner) in tables {
            things.push(thing);
            if within(span) && things.len() > deepest.things.len() {
                *deepest = Found {
                    things: things.clone(),
                    field: None,
                    table: Some(inner),
                };
            }
            search(inner, offset, things, deepest);
            things.pop();
        }
    }
}

/// How errors name an element of a list of tables.
fn label(kind: &str, at: usize, table: &DeTable<'_>) -> String {
    let name = ["name", "address"]
        .iter()
        .find_map(|&field| table.get(field)?.get_ref().as_str());
    match name {
        Some(name) => format!("{kind} {}", quoted(name)),
        None => format!("{kind} number {}", at + 1),
    }
}

/// Says where serde's `message` belongs and makes it end with what to do.
fn explain(found: Found<'_>, offset: usize, message: &str) -> (usize, String) {
    let Found {
        mut things,
        field,
        table,
    } = found;
    let mut at = offset;
    let message = reworded(message, field).unwrap_or_else(|| {
        // A message about a whole table may start with the field that it is about.
        let named = message.split_once(": ").filter(|_| field.is_none());
        if let Some((key, _)) = named.and_then(|(name, _)| table?.get_key_value(name)) {
            at = key.span().start;
        }
        message.to_owned()
    });
    things.extend(field.map(str::to_owned));
    let subject = match (things.pop(), things.is_empty()) {
        (Some(last), false) if field.is_some() => format!("{}: {last}: ", things.join(", ")),
        (Some(last), false) => format!("{}, {last}: ", things.join(", ")),
        (Some(last), true) => format!("{last}: "),
        (None, _) => String::new(),
    };
    (at, subject + &message)
}

/// serde's own messages as problem and remedy; `None` for ours, which are that already.
fn reworded(message: &str, field: Option<&str>) -> Option<String> {
    if let Some(field) = message.strip_prefix("missing field `") {
        return Some(format!("{}: is missing: add it", field.trim_end_matches('`')));
    }
    let (problem, expected) = message.rsplit_once(", expected ")?;
    let problem = if problem.starts_with("unknown field ") {
        "unknown field".to_owned()
    } else if let Some(variant) = problem.strip_prefix("unknown variant ") {
        format!("{variant} is unknown")
    } else {
        let found = problem
            .strip_prefix("invalid type: ")
            .or_else(|| problem.strip_prefix("invalid value: "))?;
        format!("{found} does not fit here")
    };
    let expected = match expected {
        "a sequence" if field.is_none_or(|field| LISTS.contains(&field)) => {
            "a list of tables, each with a head like [[service]]"
        }
        "a sequence" => &listed(&problem),
        "path string" => "a path in quotes",
        expected if expected.starts_with("struct ") => "a table",
        expected => expected,
    };
    Some(format!("{problem}: use {expected}"))
}

/// The list that a text should have been, if that is what was found.
fn listed(problem: &str) -> String {
    let text = problem.split_once("string \"");
    let Some((text, _)) = text.and_then(|(_, text)| text.rsplit_once('"')) else {
        return "a list of texts".to_owned();
    };
    let words: Vec<_> = text
        .split_whitespace()
        .map(|word| format!("\"{word}\""))
        .collect();
    format!("[{}]", words.join(", "))
}

/// Where the value at the end of the place starts, or the innermost thing on the way that is in the text.
fn offset(root: &Spanned<DeTable<'_>>, invalid: &Invalid) -> Option<usize> {
    let mut offset = None;
    let mut table = Some(root.get_ref());
    let mut list = None;
    for step in invalid.place() {
        let next: Option<&Spanned<DeValue<'_>>> = match step {
            Step::Key(key) => table.and_then(|table| table.get(*key)),
            // One thing may be written without a list around it.
            Step::Index(0) if list.is_none() => continue,
            Step::Index(at) => list.and_then(|list: &toml::de::DeArray<'_>| list.get(*at)),
        };
        let Some(value) = next else { break };
        offset = Some(value.span().start);
        table = value.get_ref().as_table();
        list = value.get_ref().as_array();
    }
    offset
}
