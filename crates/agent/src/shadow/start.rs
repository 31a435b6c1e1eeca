//! The words that `shadow` is started with.

use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;

use super::run;
use crate::links::PORT;

const USAGE: &str = "usage: shadow [--port N] [--redirect [--node IP,IP... --probed PORT,PORT...]]";

/// What it is started with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The port for laptops.
    pub(super) port: u16,
    /// Are the ports that callers call those of another program?
    pub(super) redirect: bool,
    /// The node's addresses.
    pub(super) node: Vec<IpAddr>,
    /// The ports at which the node asks that program how it is.
    pub(super) probed: Vec<u16>,
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
    let mut words = Words { port: PORT, ..Words::default() };
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
            "--node" => value().and_then(|text| list(&text)).map(|node| words.node = node),
            "--probed" => value().and_then(|text| list(&text)).map(|ports| words.probed = ports),
            _ => None,
        };
        understood.ok_or(argument)?;
    }
    Ok(words)
}

fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').filter(|one| !one.is_empty()).map(|one| one.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Words, String> {
        read(arguments.iter().map(ToString::to_string))
    }

    fn plain(port: u16) -> Words {
        Words { port, ..Words::default() }
    }

    #[test]
    fn the_port_can_be_chosen() {
        assert_eq!(parsed(&[]), Ok(plain(PORT)));
        assert_eq!(parsed(&["--port", "8000"]), Ok(plain(8000)));
        assert_eq!(parsed(&["--port=8001"]), Ok(plain(8001)));
    }

    #[test]
    fn beside_another_program_the_nodes_probes_can_be_told() {
        let redirect = Words { redirect: true, ..plain(8000) };
        let node = ["10.0.0.1", "fd00::1"].map(|address| address.parse().expect("address"));
        let probed = Words { node: node.to_vec(), probed: vec![80, 8080], ..redirect };

        let words = ["--port", "8000", "--redirect"];
        assert_eq!(parsed(&words), Ok(Words { redirect: true, ..plain(8000) }));
        let more = [&words[..], &["--node", "10.0.0.1,fd00::1", "--probed=80,8080"]].concat();
        assert_eq!(parsed(&more), Ok(probed));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed(&["--port"]), Err("--port".into()));
        assert_eq!(parsed(&["--port=x"]), Err("--port=x".into()));
        assert_eq!(parsed(&["--node", "node1"]), Err("--node".into()));
        assert_eq!(parsed(&["run"]), Err("run".into()));
    }
}
