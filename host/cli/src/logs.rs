//! The process's log: on standard error and, per AVS, in memory, for `eigenshift avs logs`.

use std::fmt::{Debug, Write};
use std::io::IsTerminal;

use eigenshift_node::Logs;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// The field that says whose line it is.
const AVS: &str = "avs";

/// What the filter lets through, and the spans that say whose lines there are in them, whatever the filter says.
fn filter<S: Subscriber + for<'a> LookupSpan<'a>>(text: &str) -> impl Filter<S> + Send + Sync + 'static {
    let whose = filter_fn(|metadata| metadata.is_span() && metadata.fields().field(AVS).is_some());
    EnvFilter::new(text).or(whose.with_max_level_hint(LevelFilter::ERROR))
}

/// Sends log lines to standard error, and to `logs` those of each AVS; `RUST_LOG` wins over `text`.
pub(crate) fn install(text: &str, logs: Logs) {
    let text = std::env::var("RUST_LOG").unwrap_or_else(|_| text.to_owned());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry();
    // A second call changes nothing.
    let _ = registry.with(lines.with_filter(filter(&text))).with(PerAvs(logs).with_filter(filter(&text))).try_init();
}

/// Keeps each AVS's lines.
struct PerAvs(Logs);

/// Whose a span is; in its extensions.
struct Whose(String);

#[derive(Default)]
struct Fields {
    avs: Option<String>,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            AVS => self.avs = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            AVS => {
                self.avs = Some(format!("{value:?}"));
                Ok(())
            }
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for PerAvs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(avs), Some(span)) = (fields.avs, context.span(id)) {
            span.extensions_mut().insert(Whose(avs));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // The span is the host's word; the field, for lines outside of one, is too.
        let span = context.event_scope(event).and_then(|mut scope| {
            scope.find_map(|span| span.extensions().get::<Whose>().map(|Whose(avs)| avs.clone()))
        });
        let Some(avs) = span.or(fields.avs).filter(|avs| self.0.keeps(avs)) else { return };
        let mut line = String::new();
        // Without a time it is still a line.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        let metadata = event.metadata();
        let _ = write!(line, " {:>5} {}: {}{}", metadata.level(), metadata.target(), fields.message, fields.others);
        self.0.write(&avs, line.replace(char::is_control, " "));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]
    use eigenshift_env::Env;
    use tracing::Instrument;

    use super::*;

    fn lines(logs: &Logs, avs: &str) -> Vec<String> {
        let page = logs.page(&avs.parse().unwrap(), 0).unwrap();
        // The time is not looked at.
        page.lines.iter().map(|line| line.text.split_once(' ').unwrap().1.trim().to_owned()).collect()
    }

    #[tokio::test]
    async fn an_avs_has_the_lines_of_its_tasks_pools_and_fields_and_no_other_whatever_the_filter() {
        let logs = Logs::default();
        for avs in ["a", "b"] {
            logs.open(&avs.parse().unwrap());
        }
        let text = "eigenshift::logs=info";
        let registry = tracing_subscriber::registry().with(PerAvs(logs.clone()).with_filter(filter(text)));
        let _installed = tracing::subscriber::set_default(registry);
        let env = Env::real();
        let pool = env.threads.pool("test", 1, 1).unwrap();
        // As the node does: its target is not in the filter.
        let span = tracing::error_span!(target: "elsewhere", "avs", avs = %"a");
        let inner = env.clone();
        let work = async move {
            tracing::info!(number = 1, "in the task");
            let spawned = inner.spawn(async { tracing::warn!("in a task that the task started\nwith a second line") });
            spawned.await.unwrap();
            let _ = pool.run(|| tracing::debug!("below the level")).await;
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            pool.run(move || tracing::dispatcher::with_default(&dispatch, || tracing::info!("on a thread of a pool")))
                .await
                .unwrap();
            tracing::info!(avs = "b", "whoever says so");
        };
        env.spawn(work.instrument(span)).await.unwrap();
        tracing::info!(avs = "b", "outside of a span");
        tracing::info!(avs = "made-up", "nobody's");
        tracing::info!("nobody's either");
        let prefix = |level: &str, text: &str| format!("{level} eigenshift::logs::tests: {text}");
        let of_a = [
            prefix("INFO", "in the task number=1"),
            prefix("WARN", "in a task that the task started with a second line"),
            prefix("INFO", "on a thread of a pool"),
            prefix("INFO", "whoever says so"),
        ];
        assert_eq!(lines(&logs, "a"), of_a);
        assert_eq!(lines(&logs, "b"), [prefix("INFO", "outside of a span")]);
    }
}
