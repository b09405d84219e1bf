//! Other hosts as a recorded task met them.

use std::sync::{Arc, Mutex, PoisonError};

use eigenshift_plugin::Answers;
use eigenshift_types::Bytes;
use http::{Request, Response};

use super::missed::Missed;
use super::tasks::{Data, Entries};

/// Longest body that is shown of a request which nothing was recorded for.
const MAX_SHOWN: usize = 1024;

/// Answers the requests of one task after the other.
#[derive(Debug, Default)]
pub(super) struct RecordedHosts {
    /// Of the task that is being run.
    reads: Mutex<Arc<Entries>>,
    missed: Missed,
    denied: Missed,
}

impl RecordedHosts {
    /// From here on with what was recorded of this task.
    pub fn begin(&self, reads: &Arc<Entries>) {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(reads);
        self.missed.forget();
        self.denied.forget();
    }

    /// What was asked since and not recorded, as it would stand in the file.
    pub fn missed(&self) -> Vec<String> {
        self.missed.noted()
    }

    /// Why requests since then were refused.
    pub fn denied(&self) -> Vec<String> {
        self.denied.noted()
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn as_recorded(request: &Request<Bytes>) -> String {
    let mut text = String::from("[[task.http]]\n");
    if request.method() != http::Method::GET {
        text.push_str(&format!("method = {}\n", quoted(request.method().as_str())));
    }
    text.push_str(&format!("url = {}\n", quoted(&request.uri().to_string())));
    if !request.body().is_empty() && request.body().len() <= MAX_SHOWN {
        text.push_str(&format!("body = \"{}\"\n", Data(request.body().clone()).written()));
    }
    text + "returns = \"\""
}

impl Answers for RecordedHosts {
    fn answer(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        let reads = Arc::clone(&self.reads.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(exchange) = reads.exchanges.iter().find(|exchange| exchange.is_for(request)) else {
            self.missed.note(as_recorded(request));
            return None;
        };
        exchange.response()
    }

    fn denied(&self, why: &str) {
        self.denied.note(why.to_owned());
    }
}
