//! `/metrics`, in Prometheus's text format.
//!
//! Labels: `avs` is one of this node's, `event`, `phase` and `code` are the host's own words. What a plugin or another node
//! makes up is counted under [`OTHER`](eigenshift_engine::counters::OTHER).

use std::fmt::{Display, Write};

use eigenshift_engine::AvsHandle;

use crate::Avss;

struct Text(String);

impl Text {
    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "eigenshift_{name}{{{labels}}} {value}");
    }
}

/// The metrics of all AVSs.
#[must_use]
pub fn text(avss: &Avss) -> String {
    let mut text = Text(String::new());
    for entry in avss.entries() {
        text.line("avs_phase", &format!("avs=\"{}\",phase=\"{}\"", entry.avs, entry.phase.as_str()), 1);
    }
    for avs in avss.all() {
        group(&mut text, &avs);
        plugin(&mut text, &avs);
    }
    text.0
}

fn group(text: &mut Text, avs: &AvsHandle) {
    let status = avs.status();
    let label = format!("avs=\"{}\"", status.service.avs);
    text.line("raft_term", &label, status.term);
    text.line("raft_leads", &label, u64::from(status.leads));
    text.line("ledger_applied_index", &label, status.applied);
    text.line("ledger_members", &label, status.members.len());
    text.line("tasks_live", &label, status.live_tasks);
    for ((event, code), count) in avs.counters().bounded() {
        text.line("events_total", &format!("{label},event=\"{event}\",code=\"{code}\""), count);
    }
}

fn plugin(text: &mut Text, avs: &AvsHandle) {
    let Some(usage) = avs.usage() else { return };
    let label = format!("avs=\"{}\"", avs.service().avs);
    let counters = usage.counters;
    for (name, value) in [
        ("plugin_calls_total", counters.calls),
        ("plugin_calls_reused_total", counters.reused),
        ("plugin_fuel_total", counters.fuel),
        ("plugin_chain_reads_total", counters.chain_reads),
        ("plugin_keyvalue_operations_total", counters.keyvalue_operations),
        ("plugin_secrets_revealed_total", counters.secrets_revealed),
        ("plugin_http_requests_total", counters.http_requests),
        ("plugin_http_refused_total", counters.http_refused),
        ("plugin_log_lines_total", counters.log_lines),
        ("plugin_log_lines_dropped_total", counters.log_lines_dropped),
        ("plugin_calls_running", usage.calls_running as u64),
        ("plugin_memory_reserved_bytes", usage.memory_reserved),
    ] {
        text.line(name, &label, value);
    }
    text.line("plugin_cpu_seconds_total", &label, counters.cpu.as_secs_f64());
    text.line("plugin_around_cpu_seconds_total", &label, counters.cpu_around.as_secs_f64());
    for (code, count) in usage.failures {
        text.line("plugin_calls_failed_total", &format!("{label},code=\"{code}\""), count);
    }
}
