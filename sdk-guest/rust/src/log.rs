//! Lines in the operator's log. Works in every callback, never blocks; what is over the host's cap per call is dropped.

use std::fmt;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// What an operator may want to know.
    Info,
    /// Something is off and the plugin goes on.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line; the macros [`error!`](crate::error!), [`warn!`](crate::warn!), [`info!`](crate::info!),
/// [`debug!`](crate::debug!) and [`trace!`](crate::trace!) call it. Outside WebAssembly it goes to standard error.
pub fn emit(level: Level, message: fmt::Arguments<'_>) {
    #[cfg(target_arch = "wasm32")]
    {
        use crate::wit::lifecycle::eigenshift::avs::log;
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        match message.as_str() {
            Some(text) => log::emit(level, text),
            None => log::emit(level, &message.to_string()),
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Sends panics (message and place) to the log before the instance traps: a module has no standard error to show them.
/// Called at the start of every export, does its work once.
#[cfg(target_arch = "wasm32")]
pub(crate) fn report_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| emit(Level::Error, format_args!("{panic}")))));
}

/// In a native test, the test harness reports panics.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn report_panics() {}

/// Logs at trace level; takes what `format!` takes.
#[macro_export]
macro_rules! trace { ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Trace, ::std::format_args!($($line)+)) }; }
/// Logs at debug level; takes what `format!` takes.
#[macro_export]
macro_rules! debug { ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Debug, ::std::format_args!($($line)+)) }; }
/// Logs at info level; takes what `format!` takes.
#[macro_export]
macro_rules! info { ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Info, ::std::format_args!($($line)+)) }; }
/// Logs at warn level; takes what `format!` takes.
#[macro_export]
macro_rules! warn { ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Warn, ::std::format_args!($($line)+)) }; }
/// Logs at error level; takes what `format!` takes.
#[macro_export]
macro_rules! error { ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Error, ::std::format_args!($($line)+)) }; }
