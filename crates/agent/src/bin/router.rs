//! `router`, see [`kt_agent::router`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kt_agent::router::main(std::env::args().skip(1))
}
