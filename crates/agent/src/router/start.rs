//! The words that `router` is started with: as the pod's program, or as a command of an older
//! client within the same container.

use std::process::ExitCode;

use super::{Options, command, run};
use crate::links::PORT;

const USAGE: &str = "usage: router [--port N] [--rules FILE] [--kept FILE]
       router setup SERVICE PORT:TARGET[,PORT:TARGET...] KEY:VALUE
       router add KEY:VALUE
       router remove KEY:VALUE";

/// Runs the program with its arguments.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    if matches!(arguments.first().map(String::as_str), Some("setup" | "add" | "remove")) {
        return command::tell(&arguments);
    }
    match options(arguments.into_iter()) {
        Ok(options) => serve(options),
        Err(argument) => {
            eprintln!("router: can not use {argument:?}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn serve(options: Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("router: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The options, or the argument that can not be understood.
fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { port: PORT, rules: None, kept: None };
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), arguments.next()),
        };
        let wrong = || argument.clone();
        let value = value.ok_or_else(wrong)?;
        match name {
            "--port" => options.port = value.parse().map_err(|_| wrong())?,
            "--rules" => options.rules = Some(value.into()),
            "--kept" => options.kept = Some(value.into()),
            _ => return Err(wrong()),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<(u16, Option<String>), String> {
        options(arguments.iter().map(ToString::to_string))
            .map(|options| (options.port, options.rules.map(|path| path.display().to_string())))
    }

    #[test]
    fn port_and_file_can_be_chosen() {
        assert_eq!(parsed(&[]), Ok((PORT, None)));
        assert_eq!(parsed(&["--port", "8000", "--rules=/kt/rules"]), Ok((8000, Some("/kt/rules".into()))));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed(&["--port"]), Err("--port".into()));
        assert_eq!(parsed(&["--port=x"]), Err("--port=x".into()));
        assert_eq!(parsed(&["run", "x"]), Err("run".into()));
    }
}
