//! One host with an attacker and somebody else on it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eigenshift_env::Env;
use eigenshift_plugin::{CompileLimits, Compiler, Grants, Host, HostOptions, LoadError, Plugin, Tenant};
use eigenshift_types::Bytes;

use crate::fixtures::{chain, options, task};
use crate::guest::Guest;
use crate::table::{Attack, FINE};

/// Pause between loads of a bundle that is refused: each is a proposal that the cluster has agreed on.
const BETWEEN_LOADS: Duration = Duration::from_millis(20);

/// Where everything happens.
pub struct Stage {
    host: Host,
    attacker: Tenant,
    pub other: Plugin,
}

impl Stage {
    pub async fn new(directory: &Path, compiler: Compiler, call_deadline: Duration) -> Self {
        let options = HostOptions {
            cache_dir: Some(directory.join("compiled")),
            call_slots: 8,
            slots_per_plugin: 4,
            call_deadline,
            compiler,
            compile_limits: CompileLimits { cpu: Duration::from_secs(2), ..CompileLimits::default() },
            ..options()
        };
        let host = Host::new(options, &Env::real()).unwrap();
        let other = host.load(Guest::default().bundle(), &Grants::all()).await.unwrap();
        Self { attacker: host.tenant(), host, other }
    }

    pub async fn load(&self, attack: &Attack) -> Result<Plugin, String> {
        let loaded = self.host.load_for(&self.attacker, attack.bundle.clone(), &Grants::all()).await;
        loaded.map_err(|error| match &error {
            LoadError::Describe(why) => format!("{}/{}", error.code(), why.code()),
            _ => error.code().to_owned(),
        })
    }

    /// One attempt, with what is loaded of it already: how it ended.
    async fn attempt(&self, attack: &Attack, loaded: Option<&Plugin>) -> String {
        let plugin = match loaded {
            Some(plugin) => plugin.clone(),
            None => match self.load(attack).await {
                Ok(plugin) => plugin,
                Err(code) => return code,
            },
        };
        match plugin.on_task_request(&task(), chain()).await {
            Err(error) => error.code().to_owned(),
            Ok(answers) => match attack.answers {
                Some(expected) if answers != [Bytes::from_static(expected)] => format!("answered {answers:?}"),
                _ => FINE.to_owned(),
            },
        }
    }

    /// As often as it can until it is told to stop, at least once; each ending that is not the one it should be.
    pub async fn attack(&self, attack: &Attack, loaded: Option<&Plugin>, stop: &AtomicBool) -> Vec<String> {
        let mut wrong = Vec::new();
        loop {
            let start = Instant::now();
            let ended = self.attempt(attack, loaded).await;
            if ended != attack.ends {
                wrong.push(format!("{} ended with {ended}, not {}", attack.name, attack.ends));
            }
            if start.elapsed() > attack.within {
                wrong.push(format!("{} took {:?}", attack.name, start.elapsed()));
            }
            if stop.load(Ordering::Acquire) || !wrong.is_empty() {
                return wrong;
            }
            if loaded.is_none() {
                tokio::time::sleep(BETWEEN_LOADS).await;
            }
        }
    }
}
