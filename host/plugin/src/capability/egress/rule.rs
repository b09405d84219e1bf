//! Entries of an allow-list: scheme, host and port.

use std::fmt;
use std::str::FromStr;

use super::{Denied, Host, Scheme, Target, shown, split_authority};

/// Which hosts an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// This one.
    Exact(Host),
    /// Every name that ends in a dot and this, at any depth; not the name itself.
    Below(String),
}

impl Pattern {
    /// Whether the host is one of them.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(exact), host) => exact == host,
            (Self::Below(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
            (Self::Below(_), Host::Address(_)) => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// One entry: `https://api.example.org`, `http://10.0.0.5:8080`, `https://*.example.org:8443`. Without a port, the scheme's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// How.
    pub scheme: Scheme,
    /// Whom.
    pub pattern: Pattern,
    /// Where.
    pub port: u16,
}

impl Rule {
    /// Whether a request may go there.
    #[must_use]
    pub fn allows(&self, target: &Target) -> bool {
        self.scheme == target.scheme && self.port == target.port && self.pattern.matches(&target.host)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.pattern, self.port)
    }
}

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It does not have the form.
    #[error("{text:?} is no entry: {why}")]
    Form {
        /// The text, cut.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Its host or port would be refused in a URL.
    #[error(transparent)]
    Part(#[from] Denied),
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let refuse = |why| RuleError::Form { text: shown(text), why };
        let (scheme, authority) = text.split_once("://").ok_or_else(|| refuse("write http:// or https:// first"))?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(refuse("write http:// or https:// first")),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(refuse("an entry ends with host or port: paths are not told apart"));
        }
        let (wild, rest) = match authority.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, authority),
        };
        if rest.contains('*') {
            return Err(refuse("`*` stands only at the beginning, before a dot"));
        }
        let (host, port) = split_authority(rest)?;
        let port = port.unwrap_or(scheme.default_port());
        let pattern = match (wild, host) {
            (false, host) => Pattern::Exact(host),
            (true, Host::Address(_)) => return Err(refuse("`*.` goes before a name, not an address")),
            // One label is a whole country or registry.
            (true, Host::Name(name)) if !name.contains('.') => {
                return Err(refuse("after `*.` come at least two parts, as in *.example.org"));
            }
            (true, Host::Name(name)) => Pattern::Below(name),
        };
        Ok(Self { scheme, pattern, port })
    }
}
