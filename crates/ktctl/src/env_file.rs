//! `--envFile`: the environment of the target's own program, for the one on this laptop.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use kt_cluster::Cluster;
use kt_cluster::environment::{Environment, Variable};
use kt_cluster::target::Exposed;
use kt_host::private_file::{self, PrivateFile};
use tracing::{debug, info, warn};

use crate::failure::Advised;
use crate::run::Journal;

/// How each file of ours begins.
const MARK: &str = "# by ktctl:";

/// Writes the file, if one was asked for. It goes when what is returned is dropped; after a crash the
/// next start on this laptop removes it.
pub(crate) async fn write(
    cluster: &Cluster,
    path: Option<&Path>,
    labels: &BTreeMap<String, String>,
    exposed: &[Exposed],
    journal: &Journal,
) -> anyhow::Result<Option<PrivateFile>> {
    let Some(path) = path else { return Ok(None) };
    let environment = cluster.environment(labels, exposed).await?;
    let whole = private_file::whole(path).map_err(|error| refused(path, &error))?;
    journal.note_env_file(&whole);
    let written = PrivateFile::create(&whole, is_ours, &text(&environment));
    let file = written.map_err(|error| refused(path, &error))?;
    let known = environment.variables.iter().filter(|variable| variable.value.is_ok()).count();
    info!(
        "Environment of container {} written to {}, {known} variables",
        environment.container,
        path.display()
    );
    let unknown: Vec<String> = environment.unknown().filter_map(said).collect();
    if !unknown.is_empty() {
        warn!("not all of the environment can be read, missing are {}", unknown.join("; "));
    }
    Ok(Some(file))
}

/// Removes what a dead run has left.
pub(crate) fn remove_left(path: Option<&PathBuf>) {
    let Some(path) = path else { return };
    match private_file::remove(path, is_ours) {
        Ok(()) => debug!(path = %path.display(), "the file with the environment is gone"),
        Err(error) => debug!(%error, path = %path.display(), "the file stays"),
    }
}

fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

fn refused(path: &Path, error: &std::io::Error) -> Advised {
    let text = format!("writing the environment to {}: {error}", path.display());
    Advised::new(text, "choose another file with --envFile")
}

/// Lines that shells and readers of .env files understand.
fn text(environment: &Environment) -> String {
    let mut text = format!(
        "{MARK} environment of container {} in pod {}, removed when the command ends\n",
        environment.container, environment.pod
    );
    for variable in &environment.variables {
        let line = match &variable.value {
            Ok(value) => format!("{}={}", variable.name, quoted(value)),
            Err(unknown) => format!("# {} is not known, {unknown}", variable.name).replace('\n', " "),
        };
        let _ = writeln!(text, "{line}"); // a text takes everything
    }
    text
}

fn said(variable: &Variable) -> Option<String> {
    let unknown = variable.value.as_ref().err()?;
    Some(format!("{} ({unknown})", variable.name))
}

/// A value with something special in it stands between single quotes.
fn quoted(value: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_./:@%+,=-".contains(letter);
    match value.chars().all(plain) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use kt_cluster::environment::Unknown;

    use super::*;

    #[test]
    fn what_is_known_is_set_and_what_is_not_is_a_comment() {
        let variable = |name: &str, value: &str| Variable { name: name.into(), value: Ok(value.into()) };
        let why = "the right to get secrets is missing";
        let unknown = Unknown { from: "key password of secret db".into(), why: why.into() };
        let environment = Environment {
            pod: "echo-1".into(),
            container: "echo".into(),
            variables: vec![
                variable("URL", "pg://db:5432/x"),
                variable("GREETING", "it's a $dollar\nand more"),
                variable("EMPTY", ""),
                Variable { name: "PASSWORD".into(), value: Err(unknown) },
            ],
        };

        let wanted = [
            "# by ktctl: environment of container echo in pod echo-1, removed when the command ends",
            "URL=pg://db:5432/x",
            r"GREETING='it'\''s a $dollar",
            "and more'",
            "EMPTY=",
            "# PASSWORD is not known, key password of secret db: the right to get secrets is missing",
            "",
        ];
        assert_eq!(text(&environment), wanted.join("\n"));
    }
}
