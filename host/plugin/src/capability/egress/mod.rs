//! Where a plugin's HTTP requests may go. Pure: nothing is resolved and nothing is dialled here.
//!
//! Whoever dials asks twice: [`decide`] before the name is looked up, [`filter`] with the addresses that the look-up gave.
//! It then connects to one of *those* addresses; a second look-up would let the name's owner answer differently.
//!
//! URLs are taken strictly. Whatever two parsers could read in two ways, and whatever one of them would mend silently, is
//! refused: most ways around an allow-list are such a difference.
//!
//! - `rule`: the allow-list's entries.
//! - `address`: which addresses are nobody's business.
//! - here: the decision on a URL.

mod address;
mod rule;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use address::{Blocked, Network, NetworkError, Policy, filter};
pub use rule::{Pattern, Rule, RuleError};

use crate::sandbox::text::clean;

/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 8 * 1024;
/// Longest host name (RFC 1035), in bytes.
const MAX_NAME_BYTES: usize = 253;
/// Longest part between two dots.
const MAX_LABEL_BYTES: usize = 63;
/// What is shown of a text that is refused.
const SHOWN_BYTES: usize = 64;

/// Requests with a body and requests without; CONNECT and TRACE are not among them: one makes a tunnel past every check,
/// the other gives back headers that the guest never saw.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// How the request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// In TLS.
    Https,
}

impl Scheme {
    /// Its name in URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant when none is written.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Whom the request is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name: lower case, ASCII, without a dot at its end; not a number in any notation.
    Name(String),
    /// An address; an IPv4 address in IPv6 clothes is that IPv4 address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// What a request was allowed to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub scheme: Scheme,
    /// Whom.
    pub host: Host,
    /// Where.
    pub port: u16,
}

impl Target {
    /// Takes a URL apart: what it is sent to, and what is after the authority, of which only the characters are looked at.
    ///
    /// # Errors
    /// [`Denied`] says what is wrong with it.
    pub fn of(url: &str) -> Result<(Self, &str), Denied> {
        parse(url)
    }

    /// The whole URL of what is after the authority, as hosts are asked for it.
    #[must_use]
    pub fn url(&self, after: &str) -> String {
        let root = if after.starts_with('/') { "" } else { "/" };
        format!("{}://{}{root}{after}", self.scheme.as_str(), self.authority())
    }

    /// Host, and port where it is not the scheme's own: as it stands in a request and in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

/// Why a request goes nowhere. Texts out of a guest are cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The method is not one of those that are sent.
    #[error("the method {0:?} is not sent; use one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
    Method(String),
    /// The method may change something, where that must not happen.
    #[error("the method {0:?} is not sent for a version that is not active; GET and HEAD are")]
    ReadsOnly(String),
    /// The URL is not one, or two parsers could disagree about it.
    #[error("the URL is refused: {0}")]
    Url(&'static str),
    /// Another scheme than http and https.
    #[error("the scheme {0:?} is not served; write http:// or https://")]
    Scheme(String),
    /// User name or password before the host.
    #[error("the URL has a user name or password before its host; send them in a header")]
    UserInfo,
    /// The host is no name and no address in its one notation.
    #[error("the host {host:?} is refused: {why}")]
    Host {
        /// The host.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The port is none.
    #[error("the port {0:?} is none; write a number from 1 to 65535, or no colon")]
    Port(String),
    /// Nothing on the allow-list matches.
    #[error("{0} is not on the allow-list; add it to http.allow in avs.toml, and have the operator grant it")]
    NotAllowed(String),
    /// The name has no address that may be dialled.
    #[error("{target} leads to {address}, which is {why}; the operator can allow the range for this host")]
    AddressBlocked {
        /// What was asked for.
        target: String,
        /// The first address that was blocked.
        address: IpAddr,
        /// What it is.
        why: Blocked,
    },
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(String),
}

impl Denied {
    /// Stable machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Method(_) => "egress-method",
            Self::ReadsOnly(_) => "egress-reads-only",
            Self::Url(_) => "egress-url",
            Self::Scheme(_) => "egress-scheme",
            Self::UserInfo => "egress-user-info",
            Self::Host { .. } => "egress-host",
            Self::Port(_) => "egress-port",
            Self::NotAllowed(_) => "egress-not-allowed",
            Self::AddressBlocked { .. } => "egress-address-blocked",
            Self::NoAddress(_) => "egress-no-address",
        }
    }
}

fn shown(text: &str) -> String {
    clean(text, SHOWN_BYTES)
}

/// Decides whether a request may be sent, by its method and URL, before anything is looked up.
///
/// # Errors
/// [`Denied`] says what is wrong with it, or that no rule matches.
pub fn decide(method: &str, url: &str, rules: &[Rule]) -> Result<Target, Denied> {
    if !METHODS.contains(&method) {
        return Err(Denied::Method(shown(method)));
    }
    let (target, _) = parse(url)?;
    if rules.iter().any(|rule| rule.allows(&target)) { Ok(target) } else { Err(Denied::NotAllowed(target.to_string())) }
}

/// Splits a URL and takes its authority apart.
fn parse(url: &str) -> Result<(Target, &str), Denied> {
    if url.len() > MAX_URL_BYTES {
        return Err(Denied::Url("it is longer than 8 KiB"));
    }
    // Browsers drop tabs and line ends and read `\` as `/`; other parsers do not.
    if url.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return Err(Denied::Url(
            "only visible ASCII without `\\` is taken: write names in punycode, the rest in %-notation",
        ));
    }
    let (scheme, rest) = url.split_once("://").ok_or(Denied::Url("it has no scheme: write http:// or https://"))?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(Denied::Scheme(shown(scheme))),
    };
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if after.contains('#') {
        return Err(Denied::Url("it has a fragment, which is not sent"));
    }
    let (host, port) = split_authority(authority)?;
    Ok((Target { scheme, host, port: port.unwrap_or(scheme.default_port()) }, after))
}

/// A host, and a port if one is written.
fn split_authority(authority: &str) -> Result<(Host, Option<u16>), Denied> {
    if authority.contains('@') {
        return Err(Denied::UserInfo);
    }
    let refuse = |why| Denied::Host { host: shown(authority), why };
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or_else(|| refuse("`[` without `]`"))?;
        let host = v6(inside).map_err(refuse)?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(refuse("something between `]` and the port")),
        }
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(refuse("an IPv6 address goes between `[` and `]`")),
            Some((host, port)) => (name_or_v4(host).map_err(refuse)?, Some(port)),
            None => (name_or_v4(authority).map_err(refuse)?, None),
        }
    };
    Ok((host, port.map(parse_port).transpose()?))
}

fn parse_port(text: &str) -> Result<u16, Denied> {
    let refuse = || Denied::Port(shown(text));
    // `parse` alone would take a plus sign and zeros in front.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('0') {
        return Err(refuse());
    }
    text.parse().map_err(|_| refuse())
}

fn v6(text: &str) -> Result<Host, &'static str> {
    if text.contains('%') {
        return Err("a zone says which of this machine's networks is meant, which no plugin decides");
    }
    let address: Ipv6Addr = text.parse().map_err(|_| "no IPv6 address")?;
    Ok(Host::Address(IpAddr::V6(address).to_canonical()))
}

fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match digits {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn name_or_v4(text: &str) -> Result<Host, &'static str> {
    // The dot that makes a name absolute changes nothing about whom it names.
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > MAX_NAME_BYTES {
        return Err("a name has at most 253 bytes");
    }
    // A name whose last label is a number is an address in some resolver's eyes: 127.1, 0x7f000001, 017700000001.
    let last = text.rsplit('.').next().unwrap_or_default();
    if is_number(last) {
        let address: Ipv4Addr =
            text.parse().map_err(|_| "an IPv4 address is written as four decimal numbers without zeros in front")?;
        return Ok(Host::Address(address.into()));
    }
    for label in text.split('.') {
        check_label(label)?;
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("two dots with nothing between them");
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err("a part of a name has at most 63 bytes");
    }
    // No percent signs: what a resolver would be asked for must be what was checked.
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err("a name has a-z, 0-9, `-`, `_` and dots; write others in punycode (xn--)");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a part of a name neither begins nor ends with `-`");
    }
    Ok(())
}
