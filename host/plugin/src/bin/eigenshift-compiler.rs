//! Compiles one component for a plugin host: the program of `Compiler::Child` for teams whose own executable is not to be
//! started again.

use std::process::ExitCode;

fn main() -> ExitCode {
    eigenshift_plugin::compile::child(std::env::args_os().skip(1))
}
