//! Arguments that are more than one word or number.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use serde::{
    Deserialize,
    de::{
        IntoDeserializer as _,
        value::{Error as NameError, StrDeserializer},
    },
};

use crate::config::{BackendSpec, MAX_WEIGHT, ServerId};

const BACKEND_OPTIONS: &str =
    "name=N, weight=N, max-connections=N, priority=N, state=STATE and server-id=HEX";

/// `SERVICE/NAME`: a backend. Names of backends may contain colons, as `10.0.0.2:8080` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPath {
    pub service: String,
    pub backend: String,
}

/// `NAME=N`: a backend's weight. Names of backends have no `=`, or the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    pub backend: String,
    pub weight: u16,
}

/// Reads `ADDR[:PORT][,OPTION=VALUE]…`, a backend of a new service.
///
/// # Errors
/// When a part of it is wrong, there twice, or unknown.
pub fn backend(text: &str) -> Result<BackendSpec, String> {
    let mut parts = text.split(',');
    let (address, port) = address_and_port(parts.next().unwrap_or_default())?;
    let mut backend = BackendSpec::new(address, port);
    let mut seen = Vec::new();
    for part in parts {
        let unknown = || format!("'{part}' is none of {BACKEND_OPTIONS}");
        let (option, value) = part.split_once('=').ok_or_else(unknown)?;
        match option {
            "name" => value.clone_into(&mut backend.name),
            "weight" => backend.weight = number("weight", value, &MAX_WEIGHT)?,
            "max-connections" => backend.max_connections = number("max-connections", value, &u32::MAX)?,
            "priority" => backend.priority = number("priority", value, &u8::MAX)?,
            "state" => backend.admin = by_name(value)?,
            "server-id" => backend.server_id = Some(value.parse::<ServerId>()?),
            _ => return Err(unknown()),
        }
        if value.is_empty() || seen.contains(&option) {
            return Err(format!("'{part}' is empty or there twice"));
        }
        seen.push(option);
    }
    Ok(backend)
}

/// Reads an address of a backend.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "not an IP address: write it like 10.0.0.2".to_owned())
}

/// Reads an address and a port.
///
/// # Errors
/// When it is none.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "not an address and a port: write it like 198.51.100.7:40000".to_owned())
}

/// Reads an enum by the name that it has in the configuration.
///
/// # Errors
/// When no variant has it, with those there are.
pub fn by_name<T: for<'de> Deserialize<'de>>(name: &str) -> Result<T, String> {
    let name: StrDeserializer<'_, NameError> = name.into_deserializer();
    T::deserialize(name).map_err(|error| error.to_string())
}

/// Reads `on` or `off`.
///
/// # Errors
/// When it is neither.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".into()),
    }
}

/// Reads a time as the configuration writes it.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "a time is written like 500ms, 30s or 2h".into())
}

impl FromStr for BackendPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((service, backend)) if !service.is_empty() && !backend.is_empty() => Ok(Self {
                service: service.into(),
                backend: backend.into(),
            }),
            _ => Err("a backend is named as SERVICE/NAME, such as web/b1".into()),
        }
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=').filter(|(name, _)| !name.is_empty());
        let (name, weight) = parts.ok_or("a weight is written as NAME=N, such as b1=50")?;
        Ok(Self {
            backend: name.into(),
            weight: number("weight", weight, &MAX_WEIGHT)?,
        })
    }
}

impl fmt::Display for BackendPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

/// Reads `10.0.0.2`, `10.0.0.2:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn address_and_port(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse() {
        return Ok((address, None));
    }
    let (address, port) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("'{text}' is not an IP address"))?;
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let address = bare
        .parse()
        .map_err(|_| format!("'{address}' is not an IP address"))?;
    match port.parse() {
        Ok(port) if port > 0 => Ok((address, Some(port))),
        _ => Err(format!("'{port}' is not a port from 1 to 65535")),
    }
}

fn number<T: FromStr + PartialOrd + fmt::Display>(what: &str, text: &str, max: &T) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| number <= max);
    number.ok_or_else(|| format!("{what} '{text}' is not a number from 0 to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Admin;

    #[test]
    fn a_backend_is_named_with_its_service() {
        let path: BackendPath = "web/10.0.0.2:8080".parse().unwrap();
        assert_eq!(
            path,
            BackendPath {
                service: "web".into(),
                backend: "10.0.0.2:8080".into()
            }
        );
        assert_eq!(path.to_string(), "web/10.0.0.2:8080");
        for wrong in ["web", "web/", "/b1", "/", ""] {
            let refusal = wrong.parse::<BackendPath>().unwrap_err();
            assert!(refusal.contains("SERVICE/NAME"), "{refusal}");
        }
    }

    #[test]
    fn a_backend_in_one_argument() {
        let address = "10.0.0.2".parse().unwrap();
        let unnamed = BackendSpec::new(address, Some(8080));
        assert_eq!(backend("10.0.0.2:8080"), Ok(unnamed.clone()));
        let named = BackendSpec {
            name: "b1".into(),
            weight: 50,
            ..unnamed
        };
        assert_eq!(backend("10.0.0.2:8080,name=b1,weight=50"), Ok(named.clone()));
        assert_eq!(backend("10.0.0.2:8080,weight=50,name=b1"), Ok(named));
        assert_eq!(backend("10.0.0.2"), Ok(BackendSpec::new(address, None)));
        assert_eq!(backend("10.0.0.2,weight=0").unwrap().weight, 0);
        let id = backend("10.0.0.2,server-id=0a0b").unwrap().server_id;
        assert_eq!(id.map(|id| id.to_string()).as_deref(), Some("0a0b"));
        let spare = backend("10.0.0.2,max-connections=500,priority=1,state=maintenance").unwrap();
        assert_eq!(
            (spare.max_connections, spare.priority, spare.admin),
            (500, 1, Admin::Maintenance)
        );
        assert_eq!(backend("[2001:db8::1]:80").unwrap().port, Some(80));
        assert_eq!(backend("2001:db8::1").unwrap().port, None);
    }

    #[test]
    fn a_wrong_backend_argument_names_its_wrong_part() {
        for (text, wrong) in [
            ("", "''"),
            ("host:80", "'host'"),
            ("10.0.0.2:0", "'0'"),
            ("10.0.0.2:65536", "'65536'"),
            ("10.0.0.2,wieght=5", "'wieght=5'"),
            ("10.0.0.2,weight=1001", "'1001'"),
            ("10.0.0.2,server-id=0", "\"0\""),
            ("10.0.0.2,server-id=00,server-id=01", "'server-id=01'"),
            ("10.0.0.2,name=", "'name='"),
            ("10.0.0.2,max-connections=many", "'many'"),
            ("10.0.0.2,priority=256", "'256'"),
            ("10.0.0.2,state=off", "off"),
            ("10.0.0.2,name=a,name=b", "'name=b'"),
            ("10.0.0.2,", "''"),
        ] {
            let refusal = backend(text).unwrap_err();
            assert!(refusal.contains(wrong), "{text}: {refusal}");
        }
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        use crate::config::Mode;
        for mode in Mode::ALL {
            assert_eq!(by_name::<Mode>(mode.name()), Ok(*mode));
        }
        let refusal = by_name::<Mode>("carrier-pigeon").unwrap_err();
        assert!(
            refusal.contains("carrier-pigeon") && refusal.contains("nat"),
            "{refusal}"
        );
    }
}
