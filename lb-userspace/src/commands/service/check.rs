//! Checks on the command line: `--check TYPE,FIELD=VALUE…`, and the flags `--check-…` for the usual fields of a single one.

use anyhow::{Result, bail};

use crate::{
    api::protocol::Service,
    cli::CheckArguments,
    config::{CheckSpec, HealthChange, HealthSpec, check_vip},
};

/// The checks that the arguments ask for.
///
/// # Errors
/// When they ask for none that can be.
pub fn checks(arguments: &CheckArguments) -> Result<Vec<CheckSpec>> {
    let flags = flags(arguments);
    if arguments.checks.len() > 1
        && let Some((field, _)) = flags.first()
    {
        bail!(
            "--check-{field}: of which check? write it as --check TYPE,{field}=… of the one that it is for"
        );
    }
    let several = arguments.checks.len() > 1;
    let checks = arguments.checks.iter().enumerate().map(|(at, written)| {
        let mut fields = fields(written)?;
        fields.extend(flags.iter().cloned());
        CheckSpec::from_fields(&fields).map_err(|error| match error.strip_prefix("check: ") {
            Some(error) if several => format!("check number {}: {error}", at + 1),
            _ => error,
        })
    });
    checks.map(|check| check.map_err(anyhow::Error::msg)).collect()
}

/// A check of a service in a line, with the way that its probes go.
pub fn told(service: &Service, check: &CheckSpec) -> String {
    let vip = check_vip(service.mode, &service.vips, check);
    check.told(vip.is_some())
}

/// What the arguments ask to change of checks, if anything. `--check none` takes them away.
///
/// # Errors
/// When they ask for none that can be.
pub fn change(arguments: &CheckArguments) -> Result<Option<Vec<CheckSpec>>> {
    match arguments.checks.as_slice() {
        [] => Ok(None),
        [none] if none == "none" => {
            if let Some((field, _)) = flags(arguments).first() {
                bail!("--check-{field}: of which check? --check none takes them away");
            }
            Ok(Some(Vec::new()))
        }
        _ => checks(arguments).map(Some),
    }
}

/// What is made of results: `FIELD=VALUE…`, those of `flaps` and `passive` like `flaps.hold=2s`.
///
/// # Errors
/// When a field is unknown, or its value is no good.
pub fn health(written: &str) -> Result<HealthSpec, String> {
    HealthSpec::from_fields(&health_fields(written)?)
}

/// What the argument asks to change of what is made of results, if it is given.
///
/// # Errors
/// When a field is unknown, or its value is no good for any service.
pub fn health_change(arguments: &CheckArguments) -> Result<HealthChange, String> {
    let written = arguments.health.as_deref();
    written.map_or(Ok(HealthChange::default()), |written| {
        HealthChange::from_fields(&health_fields(written)?)
    })
}

fn health_fields(written: &str) -> Result<Vec<(String, String)>, String> {
    split(written).iter().map(|part| field("health", part)).collect()
}

/// `TYPE,FIELD=VALUE…`; a comma that belongs to a value is written `\,`.
fn fields(written: &str) -> Result<Vec<(String, String)>, String> {
    let mut parts = split(written).into_iter();
    let kind = parts.next().unwrap_or_default();
    let mut fields = vec![("type".to_owned(), kind)];
    for part in parts {
        fields.push(field("check", &part)?);
    }
    Ok(fields)
}

fn field(thing: &str, part: &str) -> Result<(String, String), String> {
    let Some((field, value)) = part.split_once('=') else {
        return Err(format!(
            "{thing}: {part:?} is no field with its value: write it like interval=1s, and a comma that is meant literally as \\,"
        ));
    };
    Ok((field.trim().replace('-', "_"), value.to_owned()))
}

fn split(written: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '\\' if chars.peek() == Some(&',') => {
                chars.next();
                parts[last].push(',');
            }
            ',' => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    parts
}

fn flags(arguments: &CheckArguments) -> Vec<(String, String)> {
    let CheckArguments {
        checks: _,
        health: _,
        interval,
        timeout,
        rise,
        fall,
        port,
        path,
        host,
        status,
        body,
    } = arguments;
    let lasting = |time: &std::time::Duration| humantime::format_duration(*time).to_string();
    let number = |number: &u32| number.to_string();
    let flags = [
        ("interval", interval.as_ref().map(lasting)),
        ("timeout", timeout.as_ref().map(lasting)),
        ("rise", rise.as_ref().map(number)),
        ("fall", fall.as_ref().map(number)),
        ("port", port.as_ref().map(u16::to_string)),
        ("path", path.clone()),
        ("host", host.clone()),
        ("status", status.as_ref().map(ToString::to_string)),
        ("body", body.clone()),
    ];
    flags
        .into_iter()
        .filter_map(|(field, value)| Some((field.to_owned(), value?)))
        .collect()
}
