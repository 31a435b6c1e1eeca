//! `shadow`, see [`kt_agent::shadow`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kt_agent::shadow::main(std::env::args().skip(1))
}
