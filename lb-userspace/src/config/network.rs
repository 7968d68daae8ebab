//! Addresses and networks of them.

use std::{fmt, net::IpAddr, str::FromStr};

use lb_common::addr::Addr;

use super::value::{as_text, quoted};

/// An address, or a network of them; reads and writes as `192.0.2.10` or `198.51.100.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
pub(super) enum Flaw {
    /// It is no address with or without a prefix.
    Form,
    /// It has bits behind its prefix; this is the network that they are in.
    HostBits(Network),
}

impl Network {
    /// The first `prefix` bits of `base`, the bits behind them taken away.
    #[must_use]
    pub fn new(base: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(base));
        let bits = bits(base) & mask(base, prefix);
        let base = match base {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the lower 32 bits are the address"
            )]
            IpAddr::V4(_) => IpAddr::V4((bits as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(bits.into()),
        };
        Self { base, prefix }
    }

    /// Reads a network.
    pub(super) fn read(text: &str) -> Result<Self, Flaw> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| Flaw::Form)?;
        let prefix = match prefix {
            None => width(address),
            // No sign and no leading zero, which other programs take for octal.
            Some(digits) if digits == "0" || digits.starts_with(|c| ('1'..='9').contains(&c)) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width(address))
                .ok_or(Flaw::Form)?,
            Some(_) => return Err(Flaw::Form),
        };
        let network = Self::new(address, prefix);
        if network.base == address {
            Ok(network)
        } else {
            Err(Flaw::HostBits(network))
        }
    }

    /// The first address.
    #[must_use]
    pub const fn base(&self) -> IpAddr {
        self.base
    }

    /// The first address behind it; none behind the last network.
    #[must_use]
    pub fn behind(&self) -> Option<IpAddr> {
        let size = 1_u128.checked_shl(self.host_bits().into())?;
        let next = bits(self.base).checked_add(size)?;
        match self.base {
            IpAddr::V4(_) => u32::try_from(next).ok().map(|next| IpAddr::V4(next.into())),
            IpAddr::V6(_) => Some(IpAddr::V6(next.into())),
        }
    }

    /// The address, if it is but one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        (self.prefix == width(self.base)).then_some(self.base)
    }

    /// Bits that addresses differ in.
    #[must_use]
    pub fn host_bits(&self) -> u8 {
        width(self.base) - self.prefix
    }

    /// Of the 128 bits of an [`Addr`], those that the network fixes.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        128 - self.host_bits()
    }

    /// The network around `address` that fixes `prefix_len` of the 128 bits of an [`Addr`].
    #[must_use]
    pub fn around(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let prefix = prefix_len.checked_sub(128 - width(address))?;
        Some(Self::new(address, prefix))
    }

    /// Whether every address of `other` is one of this network.
    #[must_use]
    pub fn contains(&self, other: Self) -> bool {
        self.base.is_ipv4() == other.base.is_ipv4()
            && self.prefix <= other.prefix
            && bits(other.base) & mask(self.base, self.prefix) == bits(self.base)
    }

    /// Whether there is an address in both networks.
    #[must_use]
    pub fn overlaps(&self, other: Self) -> bool {
        self.contains(other) || other.contains(*self)
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        family(self.base)
    }
}

/// `IPv4` or `IPv6`.
pub(super) const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

impl Flaw {
    /// What is wrong with `text`, and what to write.
    pub(super) fn of(self, text: &str) -> String {
        let text = quoted(text);
        match self {
            Self::Form => format!(
                "{text} is no address and no network: write it like \"192.0.2.10\" or \"198.51.100.0/24\""
            ),
            Self::HostBits(right) => {
                format!("{text} has bits behind its prefix: the network is \"{right}\"")
            }
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self::new(address, width(address))
    }
}

impl From<Network> for Addr {
    fn from(network: Network) -> Self {
        network.base.into()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}/{}", self.base, self.prefix),
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|flaw| flaw.of(text))
    }
}

as_text!(Network);

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn mask(address: IpAddr, prefix: u8) -> u128 {
    let host = width(address) - prefix;
    u128::MAX.checked_shl(host.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "192.0.2.10",
            "198.51.100.0/24",
            "0.0.0.0/0",
            "2001:db8::1",
            "2001:db8::/64",
            "::/0",
        ] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.0.2.10/32").to_string(), "192.0.2.10");
        assert_eq!(network("2001:db8::1/128"), network("2001:db8::1"));
    }

    #[test]
    fn behind_a_network_comes_the_next_one() {
        let behind = |text| network(text).behind().map(|ip| ip.to_string());
        assert_eq!(behind("192.0.2.0/24").as_deref(), Some("192.0.3.0"));
        assert_eq!(behind("192.0.2.7").as_deref(), Some("192.0.2.8"));
        assert_eq!(behind("2001:db8::/64").as_deref(), Some("2001:db8:0:1::"));
        assert_eq!((behind("255.255.255.0/24"), behind("::/0")), (None, None));
    }

    #[test]
    fn bits_behind_the_prefix_name_the_right_network() {
        let refusal = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(
            refusal("198.51.100.7/24"),
            r#""198.51.100.7/24" has bits behind its prefix: the network is "198.51.100.0/24""#
        );
        assert!(refusal("2001:db8::1/64").ends_with(r#"the network is "2001:db8::/64""#));
        for text in [
            "192.0.2.0/33",
            "2001:db8::/129",
            "192.0.2.0/+8",
            "192.0.2.0/08",
            "192.0.2.0/",
            "web/8",
            "",
        ] {
            assert!(refusal(text).contains("is no address and no network"), "{text}");
        }
    }

    #[test]
    fn the_prefix_counts_in_the_maps_form() {
        assert_eq!(network("198.51.100.0/24").prefix_len(), 120);
        assert_eq!(network("2001:db8::/64").prefix_len(), 64);
        assert_eq!(
            (
                network("192.0.2.1").prefix_len(),
                network("192.0.2.1").host_bits()
            ),
            (128, 0)
        );
    }

    #[test]
    fn the_other_family_is_never_inside() {
        assert!(!network("::/0").contains(network("192.0.2.1")));
        assert!(!network("0.0.0.0/0").contains(network("2001:db8::1")));
    }

    proptest! {
        #[test]
        fn an_address_is_in_its_own_network_only(address: u32, prefix in 1_u8..=32) {
            let network = Network::new(IpAddr::V4(address.into()), prefix);
            let within = |address: u32| network.contains(IpAddr::V4(address.into()).into());
            prop_assert!(within(address));
            prop_assert!(!within(address ^ 1 << (32 - prefix)));
        }
    }
}
