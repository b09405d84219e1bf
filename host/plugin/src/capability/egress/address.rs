//! Which addresses a plugin must not reach, whatever name led to them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Denied, Host, Pattern, Target, shown};

/// Addresses of one look-up that are tried at most.
const MAX_ADDRESSES: usize = 16;

/// What an address is that keeps it from being dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// 0.0.0.0/8, `::`: this machine, to many systems.
    Unspecified,
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7.
    Private,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// 100.64.0.0/10: behind a provider's address translation.
    Shared,
    /// Where clouds hand out credentials to whoever asks from inside.
    Metadata,
    /// 224.0.0.0/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// Examples in texts.
    Documentation,
    /// Performance tests between machines.
    Benchmark,
    /// An IPv4 address inside an IPv6 one, which a translator or tunnel takes out: NAT64, 6to4, Teredo and older forms.
    Embedded,
    /// Anything else that is not given to the public internet.
    Reserved,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "no particular host",
            Self::Loopback => "this machine",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared by a provider's customers",
            Self::Metadata => "a cloud's metadata service",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "for documentation",
            Self::Benchmark => "for benchmarks",
            Self::Embedded => "an IPv4 address in disguise",
            Self::Reserved => "reserved",
        })
    }
}

/// Services that answer anybody on the machine with its credentials. Some of them lie in ranges that are public otherwise.
const METADATA: [IpAddr; 6] = [
    // AWS, Google, Azure, Oracle and others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // AWS, tasks' credentials.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    // Azure, the host's own channel: public by its range.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Alibaba.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // AWS.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // Google.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What is blocked of IPv4: IANA's special-purpose registry, first match first.
const V4: [([u8; 4], u8, Blocked); 20] = [
    ([0, 0, 0, 0], 8, Blocked::Unspecified),
    ([10, 0, 0, 0], 8, Blocked::Private),
    ([100, 64, 0, 0], 10, Blocked::Shared),
    ([127, 0, 0, 0], 8, Blocked::Loopback),
    ([169, 254, 0, 0], 16, Blocked::LinkLocal),
    ([172, 16, 0, 0], 12, Blocked::Private),
    ([192, 0, 0, 0], 24, Blocked::Reserved),
    ([192, 0, 2, 0], 24, Blocked::Documentation),
    ([192, 31, 196, 0], 24, Blocked::Reserved),
    ([192, 52, 193, 0], 24, Blocked::Reserved),
    // The way into 6to4.
    ([192, 88, 99, 0], 24, Blocked::Embedded),
    ([192, 168, 0, 0], 16, Blocked::Private),
    ([192, 175, 48, 0], 24, Blocked::Reserved),
    ([198, 18, 0, 0], 15, Blocked::Benchmark),
    ([198, 51, 100, 0], 24, Blocked::Documentation),
    ([203, 0, 113, 0], 24, Blocked::Documentation),
    ([233, 252, 0, 0], 24, Blocked::Documentation),
    ([224, 0, 0, 0], 4, Blocked::Multicast),
    ([255, 255, 255, 255], 32, Blocked::Broadcast),
    ([240, 0, 0, 0], 4, Blocked::Reserved),
];

/// What is blocked of IPv6, first match first. Whatever is not in 2000::/3 is blocked without being named here.
const V6: [(Ipv6Addr, u8, Blocked); 18] = [
    (Ipv6Addr::UNSPECIFIED, 128, Blocked::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Blocked::Loopback),
    // IPv4-compatible; IPv4-mapped ones are IPv4 addresses before they get here.
    (Ipv6Addr::UNSPECIFIED, 96, Blocked::Embedded),
    // SIIT's translated form.
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, Blocked::Embedded),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, Blocked::Embedded),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Blocked::Embedded),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, Blocked::Reserved),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Blocked::Embedded),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Blocked::Benchmark),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Blocked::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Blocked::Documentation),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Blocked::Embedded),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Blocked::Documentation),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Blocked::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Blocked::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Blocked::Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Blocked::Multicast),
    // AS112 by direct delegation.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, Blocked::Reserved),
];

const PUBLIC_V6: Network = Network { base: IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), bits: 3 };

/// What keeps a canonical address from being dialled.
fn blocked(address: IpAddr) -> Option<Blocked> {
    if METADATA.contains(&address) {
        return Some(Blocked::Metadata);
    }
    match address {
        IpAddr::V4(_) => V4
            .into_iter()
            .find(|(base, bits, _)| Network { base: Ipv4Addr::from(*base).into(), bits: *bits }.contains(address))
            .map(|(_, _, why)| why),
        IpAddr::V6(_) => V6
            .into_iter()
            .find(|(base, bits, _)| Network { base: (*base).into(), bits: *bits }.contains(address))
            .map(|(_, _, why)| why)
            .or_else(|| (!PUBLIC_V6.contains(address)).then_some(Blocked::Reserved)),
    }
}

/// A range of addresses: `10.1.0.0/16`, `fd12::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no range of addresses; write an address, or one with its zeros and the number of bits, like 10.1.0.0/16"
)]
pub struct NetworkError(String);

impl Network {
    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn is_one_address(&self) -> bool {
        self.bits == if self.base.is_ipv4() { 32 } else { 128 }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let refuse = || NetworkError(shown(text));
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| refuse())?;
        // Addresses are compared in their canonical form, so a range of mapped ones would never match.
        if base.to_canonical() != base {
            return Err(refuse());
        }
        let most: u8 = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(refuse)?
            }
            Some(_) => return Err(refuse()),
        };
        let network = Self { base, bits };
        // 10.0.0.5/8 is a slip of the pen: it would allow far more than is written.
        let lowest = match base {
            IpAddr::V4(base) => base.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0,
            IpAddr::V6(base) => base.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0,
        };
        if lowest { Ok(network) } else { Err(refuse()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// The operator's exceptions: which blocked ranges which hosts may lead to. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A host and a range that it may lead to. A metadata service counts only when it is named by its own address.
    pub allow: Vec<(Pattern, Network)>,
}

/// The IPv4 address that a NAT64 translator would dial (RFC 6052, the well-known prefix).
fn translated(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(address) => match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                let [.., a, b, c, d] = address.octets();
                Some(Ipv4Addr::new(a, b, c, d).into())
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    }
}

impl Policy {
    /// What keeps a canonical address from being dialled for this host.
    fn refuses(&self, host: &Host, address: IpAddr) -> Option<Blocked> {
        let why = blocked(address)?;
        let allowed = self.allow.iter().any(|(pattern, network)| {
            pattern.matches(host) && network.contains(address) && (why != Blocked::Metadata || network.is_one_address())
        });
        if !allowed {
            return Some(why);
        }
        // Allowing a translator's range does not allow what lies behind it.
        translated(address).and_then(|behind| self.refuses(host, behind))
    }
}

/// Keeps those addresses of a look-up that may be dialled, in their order, at most 16. For a host that is an address, it is
/// the only one that counts.
///
/// # Errors
/// [`Denied::AddressBlocked`] when none is left, [`Denied::NoAddress`] when there was none.
pub fn filter(target: &Target, addresses: &[IpAddr], policy: &Policy) -> Result<Vec<SocketAddr>, Denied> {
    let literal = match target.host {
        Host::Address(address) => Some([address]),
        Host::Name(_) => None,
    };
    let addresses = literal.as_ref().map_or(addresses, |one| one.as_slice());
    let mut first = None;
    let mut kept = Vec::new();
    for address in addresses.iter().map(IpAddr::to_canonical) {
        match policy.refuses(&target.host, address) {
            Some(why) => {
                first.get_or_insert((address, why));
            }
            None if kept.len() < MAX_ADDRESSES => kept.push(SocketAddr::new(address, target.port)),
            None => {}
        }
    }
    match (kept.is_empty(), first) {
        (false, _) => Ok(kept),
        (true, Some((address, why))) => Err(Denied::AddressBlocked { target: target.to_string(), address, why }),
        (true, None) => Err(Denied::NoAddress(target.to_string())),
    }
}
