//! What an operator gives an AVS's plugin: values of its configuration, secrets, allowances for requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use eigenshift_plugin::capability::egress::{Network, Pattern, Policy, Rule};
use eigenshift_plugin::capability::secrets::MAX_SECRET_BYTES;
use eigenshift_plugin::{Grants, HttpPolicy, Import, Roots, SecretValue, Secrets, TenantOptions};
use serde::{Deserialize, Deserializer, de};

use crate::CliError;
use crate::config::{AvsConfig, Span};
use crate::files::{file, read_private};

/// The shortest time that a request may be given.
const SHORTEST: Duration = Duration::from_millis(100);

/// A value of `[avs.config]`: text, a whole number, true or false.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected text, a whole number, true or false")]
pub enum Setting {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A switch.
    Flag(bool),
}

impl Setting {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }
}

/// An entry of `http-allow`: scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Rule);

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

/// An entry of `http-addresses`: a host, `=`, and the range of addresses that it may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception(Pattern, Network);

impl FromStr for Exception {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no exception: write a host, = and a range, like api.internal=10.1.0.0/16");
        let (host, range) = text.split_once('=').ok_or_else(wrong)?;
        // A host is written as in a rule, which has a scheme besides and may have a port.
        let rule: Rule = format!("https://{host}").parse().map_err(|_| wrong())?;
        if rule.port != 443 || host.ends_with(":443") {
            return Err(wrong());
        }
        Ok(Self(rule.pattern, range.parse().map_err(|error| format!("{text:?}: {error}"))?))
    }
}

impl<'de> Deserialize<'de> for Exception {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A secret's file: its bytes without the line break that an editor puts at the end.
fn read_secret(name: &str, path: &Path) -> Result<SecretValue, CliError> {
    let bytes = read_private(path, MAX_SECRET_BYTES as u64 + 2)?;
    let value = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    SecretValue::new(value.to_vec()).map_err(|error| file(path, format!("the secret `{name}`: {error}")))
}

/// Reads the secrets' files. Blocks.
pub(crate) fn secrets(files: &BTreeMap<String, PathBuf>) -> Result<Secrets, CliError> {
    files.iter().map(|(name, path)| Ok((name.clone(), read_secret(name, path)?))).collect()
}

/// What the configuration grants, with the values that it sets.
pub(crate) fn grants(avs: &AvsConfig) -> Grants {
    let config = avs.config.iter().map(|(key, value)| (key.clone(), value.text())).collect();
    Grants { config, ..avs.grants.iter().copied().collect() }
}

/// Holds the limits of a plugin's requests against what there may be at most: what this host does without them.
///
/// # Errors
/// For people: which key, and what it may be.
pub(crate) fn check(avs: &AvsConfig) -> Result<(), String> {
    let most = HttpPolicy::default();
    if avs.http_concurrency.is_some_and(|given| given == 0 || given > most.concurrency) {
        return Err(format!("http-concurrency: give 1 to {}", most.concurrency));
    }
    if avs.http_timeout.is_some_and(|Span(given)| given < SHORTEST || given > most.timeout) {
        return Err(format!("http-timeout: give {}ms to {}s", SHORTEST.as_millis(), most.timeout.as_secs()));
    }
    if avs.http_request_bytes.is_some_and(|given| given > most.request_bytes) {
        return Err(format!("http-request-bytes: give {} at most", most.request_bytes));
    }
    if avs.http_response_bytes.is_some_and(|given| given == 0 || given > most.response_bytes) {
        return Err(format!("http-response-bytes: give 1 to {}", most.response_bytes));
    }
    Ok(())
}

/// What the node gives the plugin. Reads the system's certificate authorities when requests are granted; blocks for that.
pub(crate) fn options(avs: &AvsConfig, secrets: Secrets) -> TenantOptions {
    let roots = if avs.grants.contains(&Import::Http) {
        Roots::system().inspect_err(|error| tracing::warn!(avs = %avs.id, "no https for the plugin: {error}")).ok()
    } else {
        None
    };
    let most = HttpPolicy::default();
    let http = HttpPolicy {
        allow: avs.http_allow.as_ref().map(|rules| rules.iter().map(|Allowed(rule)| rule.clone()).collect()),
        addresses: Policy {
            allow: avs.http_addresses.iter().map(|Exception(host, range)| (host.clone(), *range)).collect(),
        },
        concurrency: avs.http_concurrency.unwrap_or(most.concurrency),
        timeout: avs.http_timeout.map_or(most.timeout, |Span(given)| given),
        request_bytes: avs.http_request_bytes.unwrap_or(most.request_bytes),
        response_bytes: avs.http_response_bytes.unwrap_or(most.response_bytes),
        roots,
        ..most
    };
    TenantOptions { secrets, http, ..TenantOptions::default() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn exceptions_name_a_host_and_a_range() {
        for good in ["api.internal.example=10.1.0.0/16", "*.internal.example=fd12::/16", "10.1.2.3=10.1.2.3"] {
            assert!(good.parse::<Exception>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "=",
            "api.example",
            "=10.0.0.0/8",
            "api.example=",
            "api.example=10.0.0.1/8",
            "api.example:80=10.0.0.0/8",
            "api.example:443=10.0.0.0/8",
            "http://api.example=10.0.0.0/8",
            "*=10.0.0.0/8",
            "*.com=10.0.0.0/8",
        ] {
            assert!(bad.parse::<Exception>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_operators_limits_of_requests_reach_the_plugin_host() {
        let text = include_str!("../../../examples/price-oracle/operator-1.toml");
        let given =
            "http-concurrency = 2\nhttp-timeout = \"3s\"\nhttp-request-bytes = 4\nhttp-response-bytes = 5\ngrants = [";
        let http = |text: &str| {
            let config: crate::config::Config = toml::from_str(text).unwrap();
            options(config.avss.first().unwrap(), Secrets::default()).http
        };
        let limits = |http: HttpPolicy| (http.concurrency, http.timeout, http.request_bytes, http.response_bytes);
        assert_eq!(limits(http(&text.replacen("grants = [", given, 1))), (2, Duration::from_secs(3), 4, 5));
        assert_eq!(limits(http(text)), limits(HttpPolicy::default()));
    }

    #[test]
    fn a_secrets_file_ends_without_its_line_break_and_errors_do_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            secrets(&BTreeMap::from([("api-key".to_owned(), path.clone())]))
        };
        for text in ["s3cr3t-key", "s3cr3t-key\n", "s3cr3t-key\r\n"] {
            assert_eq!(format!("{:?}", read(text).unwrap()), "{\"api-key\"}");
        }
        for text in ["", "s3cr3t\n", &"s3cr3t".repeat(1000)] {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("s3cr3t") && error.contains("key"), "{error}");
        }
    }
}
