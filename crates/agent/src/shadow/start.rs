//! The words that `shadow` is started with.

use std::process::ExitCode;

use super::run;
use crate::links::PORT;

const USAGE: &str = "usage: shadow [--port N]";

/// Runs the program with its arguments.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let port = match port(arguments) {
        Ok(port) => port,
        Err(argument) => {
            eprintln!("shadow: can not use {argument:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(port))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shadow: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The port to listen on, or the argument that can not be understood.
fn port(mut arguments: impl Iterator<Item = String>) -> Result<u16, String> {
    let mut port = PORT;
    while let Some(argument) = arguments.next() {
        let value = match argument.split_once('=') {
            Some(("--port", value)) => Some(value.to_owned()),
            _ if argument == "--port" => arguments.next(),
            _ => return Err(argument),
        };
        port = value.and_then(|value| value.parse().ok()).ok_or(argument)?;
    }
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<u16, String> {
        port(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn the_port_can_be_chosen() {
        assert_eq!(parsed(&[]), Ok(PORT));
        assert_eq!(parsed(&["--port", "8000"]), Ok(8000));
        assert_eq!(parsed(&["--port=8001"]), Ok(8001));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed(&["--port"]), Err("--port".into()));
        assert_eq!(parsed(&["--port=x"]), Err("--port=x".into()));
        assert_eq!(parsed(&["run"]), Err("run".into()));
    }
}
