//! The `fusex` program: parse, log, run, map to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    fusex::cli::main()
}
