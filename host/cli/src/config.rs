//! `eigenshift.toml`: one node and its AVSs. Every key is documented in the README; unknown ones are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eigenshift_bls::Curve;
use eigenshift_ledger::Settings;
use eigenshift_ledger::settings::{Expiry, Mode, Order, Policy, RotationSettings, Trial};
use eigenshift_node::Approval;
use eigenshift_plugin::Import;
use eigenshift_types::{Address, AvsId, Quorums};
use serde::Deserialize;

use crate::CliError;
use crate::files::{file, read_bounded};
use crate::provided::{self, Allowed, Exception, Setting};

/// A duration as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Reads `2s`, `500ms`, `1m`.
///
/// # Errors
/// For people: what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write a whole number and ms, s, m or h, like 2s or 500ms");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The node.
    pub node: NodeConfig,
    /// Its AVSs.
    #[serde(rename = "avs")]
    pub avss: Vec<AvsConfig>,
}

/// `[node]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// Where everything is kept; relative to the file.
    pub data_dir: PathBuf,
    /// Raft listener.
    pub raft: SocketAddr,
    /// Public listener.
    pub http: SocketAddr,
    /// Admin listener, loopback only.
    pub admin: Option<SocketAddr>,
    /// How others reach the Raft listener, if not by its address.
    pub raft_url: Option<String>,
    /// How others reach the public listener, if not by its address.
    pub http_url: Option<String>,
    /// Plain text between nodes; loopback only.
    #[serde(default)]
    pub insecure_dev: bool,
    /// How often a leader shows that it is there. The same on all nodes.
    pub heartbeat: Option<Span>,
    /// A follower asks to lead after a silence between this and twice this. The same on all nodes.
    pub election: Option<Span>,
    /// A member that the leader has not heard of for so long gets no duty.
    pub down_after: Option<Span>,
    /// `error`, `warn`, `info`, `debug` or a filter of the tracing library.
    pub log: Option<String>,
}

/// `[[avs]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AvsConfig {
    /// Name: a-z, 0-9 and `-`.
    pub id: AvsId,
    /// JSON-RPC endpoint, http or https.
    pub rpc: String,
    /// EIP-155 chain id, checked against the endpoint.
    pub chain_id: u64,
    /// How often the endpoint is asked for a new head.
    pub poll: Option<Span>,
    /// The AVS's service manager contract.
    pub service_manager: Address,
    /// The operator registry contract.
    pub registry: Address,
    /// The plugin; relative to the file.
    pub component: PathBuf,
    /// Its manifest; relative to the file.
    pub manifest: PathBuf,
    /// What the operator grants the plugin.
    pub grants: Vec<Import>,
    /// What it takes for another version of the plugin to become active: `automatic`, a trusted publisher's signature, or
    /// `manual`, this operator's word too.
    #[serde(default)]
    pub bundle_approval: Approval,
    /// Values of what the manifest declares under `config`.
    #[serde(default)]
    pub config: BTreeMap<String, Setting>,
    /// Files of the secrets that the manifest lists, by name; relative to the file.
    #[serde(default)]
    pub secrets: BTreeMap<String, PathBuf>,
    /// Where the plugin's requests may go, of what the manifest lists; without it, all of that.
    pub http_allow: Option<Vec<Allowed>>,
    /// Private addresses that hosts may lead to all the same.
    #[serde(default)]
    pub http_addresses: Vec<Exception>,
    /// The plugin's requests at the same time.
    pub http_concurrency: Option<u32>,
    /// Longest time of one.
    pub http_timeout: Option<Span>,
    /// Most bytes of a request's body.
    pub http_request_bytes: Option<u64>,
    /// Most bytes of a response's body.
    pub http_response_bytes: Option<u64>,
    /// File with the operator account's secret key, 64 hexadecimal digits; relative to the file.
    pub operator_key: PathBuf,
    /// Key file with the BLS secret key, opened with `bls-password`; without that 64 hexadecimal digits. Relative to the
    /// file.
    pub bls_key: PathBuf,
    /// File with the key file's password on its only line; relative to the file.
    pub bls_password: Option<PathBuf>,
    /// Whether other AVSs of this node may have the same BLS key, and say so too.
    #[serde(default)]
    pub share_bls_key: bool,
    /// Curve of the cluster's BLS keys: `bn254`, which EigenLayer's contracts check, or `bls12-381`.
    #[serde(default)]
    pub curve: Curve,
    /// Whether this node founds the cluster: exactly one does.
    #[serde(default)]
    pub bootstrap: bool,
    /// Public URLs of members to join through.
    #[serde(default)]
    pub join: Vec<String>,
    /// Timers that fire at the leader.
    #[serde(default, rename = "timer")]
    pub timers: Vec<TimerConfig>,
    /// What the founder proposes; the others learn it from the log.
    pub cluster: Option<ClusterConfig>,
}

/// `[[avs.timer]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TimerConfig {
    /// Name: the plugin sees it.
    pub name: String,
    /// How often.
    pub every: Span,
}

/// `[avs.cluster]`: every key has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClusterConfig {
    quorums: Option<Vec<u8>>,
    thresholds: Option<Vec<u8>>,
    allow_minority_thresholds: Option<bool>,
    window: Option<Span>,
    window_non_signers: Option<u32>,
    expiry: Option<Span>,
    expiry_blocks: Option<u64>,
    confirmations: Option<u64>,
    reference_lag: Option<u64>,
    reassign_grace: Option<u64>,
    rotation: Option<PolicyName>,
    rotation_every: Option<u32>,
    rotation_interval: Option<Span>,
    rotation_mode: Option<Mode>,
    rotation_order: Option<Order>,
    retention: Option<u32>,
    max_voters: Option<u32>,
    max_open_tasks: Option<u32>,
    keys_per_task: Option<u32>,
    publishers: Option<Vec<Address>>,
    trial_tasks: Option<u32>,
    trial_disagreements: Option<u32>,
    start_block: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PolicyName {
    AfterTask,
    Every,
    Interval,
    Sticky,
}

fn ms(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

impl ClusterConfig {
    /// The settings, and the first block whose events count (none: the head at founding).
    ///
    /// # Errors
    /// For people: what is wrong.
    pub fn settings(&self, registry: Address, curve: Curve) -> Result<(Settings, Option<u64>), String> {
        let mut settings = Settings { curve, ..Settings::new(registry) };
        let defaults = settings.clone();
        settings.quorums = Quorums {
            numbers: self.quorums.clone().unwrap_or(defaults.quorums.numbers),
            thresholds: self.thresholds.clone().unwrap_or(defaults.quorums.thresholds),
        };
        settings.allow_minority_thresholds =
            self.allow_minority_thresholds.unwrap_or(defaults.allow_minority_thresholds);
        settings.window_ms = self.window.map_or(defaults.window_ms, ms);
        settings.window_non_signers = self.window_non_signers.unwrap_or(defaults.window_non_signers);
        settings.expiry = match (self.expiry, self.expiry_blocks) {
            (Some(_), Some(_)) => return Err("give expiry or expiry-blocks, not both".to_owned()),
            (Some(span), None) => Expiry::Ms(ms(span)),
            (None, Some(blocks)) => Expiry::Blocks(blocks),
            (None, None) => defaults.expiry,
        };
        settings.confirmations = self.confirmations.or(defaults.confirmations);
        settings.reference_lag = self.reference_lag.unwrap_or(defaults.reference_lag);
        settings.reassign_grace = self.reassign_grace.unwrap_or(defaults.reassign_grace);
        let policy = match (self.rotation, self.rotation_every, self.rotation_interval) {
            (None | Some(PolicyName::AfterTask), None, None) => Policy::AfterTask,
            (Some(PolicyName::Sticky), None, None) => Policy::Sticky,
            (Some(PolicyName::Every), Some(tasks), None) => Policy::Every(tasks),
            (Some(PolicyName::Interval), None, Some(span)) => Policy::IntervalMs(ms(span)),
            _ => {
                let fix = "rotation = \"every\" needs rotation-every, rotation = \"interval\" needs rotation-interval; the others need neither";
                return Err(fix.to_owned());
            }
        };
        settings.rotation = RotationSettings {
            policy,
            mode: self.rotation_mode.unwrap_or(defaults.rotation.mode),
            order: self.rotation_order.unwrap_or(defaults.rotation.order),
        };
        settings.retention = self.retention.unwrap_or(defaults.retention);
        settings.max_voters = self.max_voters.unwrap_or(defaults.max_voters);
        let most = if settings.rotation.mode == Mode::Assignment { 256 } else { defaults.max_open_tasks };
        settings.max_open_tasks = self.max_open_tasks.unwrap_or(most);
        settings.keys_per_task = self.keys_per_task.unwrap_or(defaults.keys_per_task);
        settings.publishers = self.publishers.clone().unwrap_or(defaults.publishers);
        settings.trial = Trial {
            tasks: self.trial_tasks.unwrap_or(defaults.trial.tasks),
            disagreements: self.trial_disagreements.unwrap_or(defaults.trial.disagreements),
        };
        match settings.problem() {
            Some(problem) => Err(problem.to_owned()),
            None => Ok((settings, self.start_block)),
        }
    }
}

const MAX_CONFIG: u64 = 1024 * 1024;

/// Reads a file; paths in it become relative to it.
///
/// # Errors
/// [`CliError::Config`] with the line and the fix.
pub fn read(path: &Path) -> Result<Config, CliError> {
    let text = String::from_utf8(read_bounded(path, MAX_CONFIG)?).map_err(|error| file(path, error))?;
    let mut config = parse(&text).map_err(|why| CliError::Config { path: path.to_owned(), why })?;
    let base = path.parent().unwrap_or(Path::new("."));
    let resolve = |path: &mut PathBuf| *path = base.join(&*path);
    resolve(&mut config.node.data_dir);
    for avs in &mut config.avss {
        for path in [&mut avs.component, &mut avs.manifest, &mut avs.operator_key, &mut avs.bls_key] {
            resolve(path);
        }
        avs.secrets.values_mut().for_each(resolve);
        avs.bls_password.as_mut().map(resolve);
    }
    Ok(config)
}

/// Reads a file's text. The error shows the line and says what is expected there.
fn parse(text: &str) -> Result<Config, String> {
    let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
    if config.avss.is_empty() {
        return Err("there is no [[avs]]: add one".to_owned());
    }
    for (index, avs) in config.avss.iter().enumerate() {
        let at = |why: &str| Err(format!("[[avs]] {}: {why}", avs.id));
        if config.avss.iter().take(index).any(|other| other.id == avs.id) {
            return at("appears twice: give each AVS its own id");
        }
        if avs.rpc == "embedded" {
            return at(
                "rpc: the embedded chain lives in one process, `eigenshift demo` runs on it; give a JSON-RPC endpoint",
            );
        }
        if avs.bootstrap != avs.join.is_empty() {
            return at(
                "give either bootstrap = true (one node of the cluster) or join = [\"http://...\"] (the others)",
            );
        }
        if avs.cluster.is_some() && !avs.bootstrap {
            return at("[avs.cluster] belongs to the node with bootstrap = true; the others learn it from the log");
        }
        if let Some(timer) = avs.timers.iter().find(|timer| timer.every.0.is_zero()) {
            return at(&format!("timer {:?}: every cannot be zero", timer.name));
        }
        if let Err(why) = provided::check(avs) {
            return at(&why);
        }
        if let Err(why) = avs.cluster.clone().unwrap_or_default().settings(avs.registry, avs.curve) {
            return at(&format!("[avs.cluster]: {why}"));
        }
    }
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../examples/price-oracle/operator-1.toml");

    #[test]
    fn the_examples_are_good() {
        parse(GOOD).unwrap();
        for text in [
            include_str!("../../../examples/price-oracle/operator-2.toml"),
            include_str!("../../../examples/price-oracle/operator-3.toml"),
            include_str!("../../../examples/price-oracle/operator-4.toml"),
        ] {
            assert!(!parse(text).unwrap().avss.first().unwrap().join.is_empty());
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_what_is_expected() {
        let cases = [
            ("raft = ", "rft = ", "unknown field `rft`"),
            ("raft = \"127.0.0.1", "raft = \"localhost", "invalid socket address"),
            ("chain-id = 31337", "chain-id = \"x\"", "expected u64"),
            ("grants = [", "grants = [\"net\", ", "net"),
            ("grants = [", "bundle-approval = \"never\"\ngrants = [", "unknown variant `never`"),
            ("grants = [", "http-allow = [\"ftp://a.example\"]\ngrants = [", "write http:// or https:// first"),
            ("grants = [", "http-addresses = [\"a.example\"]\ngrants = [", "write a host, = and a range"),
            ("grants = [", "http-addresses = [\"a.example=10.0.0.5/8\"]\ngrants = [", "is no range of addresses"),
            ("grants = [", "config = { depth = [1] }\ngrants = [", "text, a whole number, true or false"),
            ("grants = [", "secrets = { api-key = 1 }\ngrants = [", "invalid type"),
            ("expiry = \"60s\"", "expiry = \"soon\"", "write a whole number and ms, s, m or h"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected) && error.contains("line "), "{error}");
        }
        for (from, to, expected) in [
            ("bootstrap = true", "bootstrap = false", "give either bootstrap"),
            ("rpc = \"http://127.0.0.1:8545\"", "rpc = \"embedded\"", "lives in one process"),
            ("thresholds = [67]", "thresholds = [40]", "threshold of 50 or less"),
            ("thresholds = [67]", "thresholds = [67, 67]", "one threshold"),
            ("grants = [", "http-concurrency = 0\ngrants = [", "http-concurrency: give 1 to 16"),
            ("grants = [", "http-concurrency = 17\ngrants = [", "http-concurrency: give 1 to 16"),
            ("grants = [", "http-timeout = \"61s\"\ngrants = [", "http-timeout: give 100ms to 60s"),
            ("grants = [", "http-request-bytes = 16777217\ngrants = [", "http-request-bytes: give 16777216 at most"),
            ("grants = [", "http-response-bytes = 0\ngrants = [", "http-response-bytes: give 1 to 16777216"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn durations_are_read_as_written() {
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "2", "s", "2 s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
