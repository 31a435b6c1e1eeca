//! The words that `shadow` is started with.

use std::net::IpAddr;
use std::process::ExitCode;

use super::run;
use crate::links::PORT;

const USAGE: &str = "usage: shadow [--port N] [--redirect [--spare IP,IP...]]";

/// What it is started with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The port for laptops.
    pub(super) port: u16,
    /// Are the ports that callers call those of another program?
    pub(super) redirect: bool,
    /// The node, when its calls are left to that program.
    pub(super) spare: Option<Vec<IpAddr>>,
}

/// Runs the program with its arguments.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let words = match read(arguments) {
        Ok(words) => words,
        Err(argument) => {
            eprintln!("shadow: can not use {argument:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(words))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shadow: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The words, or the argument that can not be understood.
fn read(mut arguments: impl Iterator<Item = String>) -> Result<Words, String> {
    let mut words = Words { port: PORT, redirect: false, spare: None };
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value = || value.clone().or_else(|| arguments.next());
        let understood = match name {
            "--redirect" => {
                words.redirect = true;
                Some(())
            }
            "--port" => value().and_then(|text| text.parse().ok()).map(|port| words.port = port),
            "--spare" => value().and_then(|text| addresses(&text)).map(|node| words.spare = Some(node)),
            _ => None,
        };
        understood.ok_or(argument)?;
    }
    Ok(words)
}

fn addresses(list: &str) -> Option<Vec<IpAddr>> {
    list.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Words, String> {
        read(arguments.iter().map(ToString::to_string))
    }

    fn plain(port: u16) -> Words {
        Words { port, redirect: false, spare: None }
    }

    #[test]
    fn the_port_can_be_chosen() {
        assert_eq!(parsed(&[]), Ok(plain(PORT)));
        assert_eq!(parsed(&["--port", "8000"]), Ok(plain(8000)));
        assert_eq!(parsed(&["--port=8001"]), Ok(plain(8001)));
    }

    #[test]
    fn beside_another_program_the_node_can_be_spared() {
        let redirect = Words { redirect: true, ..plain(8000) };
        let node = ["10.0.0.1", "fd00::1"].map(|address| address.parse().expect("address"));

        assert_eq!(parsed(&["--port", "8000", "--redirect"]), Ok(redirect));
        let spare = parsed(&["--redirect", "--spare", "10.0.0.1,fd00::1"]).expect("words").spare;
        assert_eq!(spare, Some(node.to_vec()));
        assert_eq!(parsed(&["--spare="]).expect("words").spare, Some(Vec::new()), "only its gateways");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed(&["--port"]), Err("--port".into()));
        assert_eq!(parsed(&["--port=x"]), Err("--port=x".into()));
        assert_eq!(parsed(&["--spare", "node1"]), Err("--spare".into()));
        assert_eq!(parsed(&["run"]), Err("run".into()));
    }
}
