//! Spellings of older versions become today's, before anything is parsed; no command ever sees them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::iter::Peekable;

/// A spelling which has a newer one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deprecated {
    old: String,
    new: String,
}

impl fmt::Display for Deprecated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is deprecated, use '{}'", self.old, self.new)
    }
}

/// Flags that only have another name today; those that stand alone are switches.
const RENAMED: &[(&str, &str)] = &[
    ("label", "withLabel"),
    ("labels", "withLabel"),
    ("waitTime", "portForwardTimeout"),
    ("timeout", "portForwardTimeout"),
    ("method", "mode"),
    ("proxy", "proxyPort"),
    ("cidr", "includeIps"),
    ("version-label", "versionMark"),
    ("disableDNS", "dnsMode=none"),
];

/// Values that have another name today, after the flag was renamed.
const VALUES: &[(&str, &str)] =
    &[("mode=vpn", "mode=tun2socks"), ("mode=tun", "mode=tun2socks"), ("mode=switch", "mode=selector")];

/// Values that became other flags.
const SPLIT: &[(&str, &[&str])] =
    &[("mode=socks5", &["--disableTunDevice"]), ("mode=socks", &["--disableTunDevice"])];

/// Flags that take a value and have none of our effects any more.
const ACCEPTED: &[&str] = &["port", "sshPort", "tunCidr"];

/// Flags that wrote names to the hosts file, with a value that may be left out.
const HOSTS: &[&str] = &["dump2hosts", "dump2hostsNS"];

/// The one command which has kept its old words: `run`, whose `--port` and `--expose` mean something else.
const RUN: &str = "run";

/// Commands that only have another name today.
const COMMANDS: &[(&str, &str)] = &[("exhcnage", "exchange"), ("provide", "preview")];

/// Translates a command line, its first word being the program.
pub(super) fn modern(command: &clap::Command, arguments: Vec<OsString>) -> (Vec<OsString>, Vec<Deprecated>) {
    let translation = translate(Words::of(command, false), arguments.clone());
    let translation = match translation.command.as_deref() {
        Some(RUN) => translate(Words::of(command, true), arguments),
        _ => translation,
    };
    (translation.modern, translation.deprecated)
}

fn translate(words: Words, arguments: Vec<OsString>) -> Translation {
    let mut translation = Translation { words, ..Default::default() };
    let mut arguments = arguments.into_iter().peekable();
    translation.modern.extend(arguments.next());
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--") => {
                translation.modern.push(argument);
                translation.modern.extend(arguments.by_ref());
            }
            Some(text) if text.starts_with('-') && text.len() > 1 => {
                let text = translation.words.dashes(text);
                translation.flag(&text, &mut arguments);
            }
            Some(text) => translation.word(text),
            None => translation.modern.push(argument),
        }
    }
    translation.end();
    translation
}

/// The names that flags have.
#[derive(Default)]
struct Words {
    long: HashSet<String>,
    short: HashSet<char>,
    /// Which of them are followed by a value.
    valued: HashMap<String, bool>,
    /// Those that are followed by a value, and have no effect any more.
    accepted: &'static [&'static str],
}

impl Words {
    /// Of `run` alone, or of all the others.
    fn of(command: &clap::Command, of_run: bool) -> Words {
        let accepted = if of_run { &[] } else { ACCEPTED };
        let mut words = Words { accepted, ..Words::default() };
        let meant = |sub: &&clap::Command| (sub.get_name() == RUN) == of_run;
        for command in std::iter::once(command).chain(command.get_subcommands().filter(meant)) {
            for arg in command.get_arguments() {
                words.short.extend(arg.get_short());
                let takes_value = arg.get_action().takes_values() && !arg.is_require_equals_set();
                for name in arg
                    .get_long_and_visible_aliases()
                    .unwrap_or_default()
                    .into_iter()
                    .chain(arg.get_all_aliases().unwrap_or_default())
                {
                    words.long.insert(name.to_owned());
                    words.valued.insert(name.to_owned(), takes_value);
                }
            }
        }
        words.long.extend(["help", "version"].map(String::from));
        words.long.extend(RENAMED.iter().map(|(old, _)| (*old).to_owned()));
        words.long.extend(accepted.iter().chain(HOSTS).map(|old| (*old).to_owned()));
        words
    }

    /// One dash with a long name gets two, two dashes with a short name get one.
    fn dashes(&self, text: &str) -> String {
        let bare = text.trim_start_matches('-');
        let name = bare.split('=').next().unwrap_or(bare);
        let one_letter = name.chars().count() == 1 && name.chars().all(|letter| self.short.contains(&letter));
        if self.long.contains(name) {
            format!("--{bare}")
        } else if one_letter {
            format!("-{bare}")
        } else {
            text.to_owned()
        }
    }
}

#[derive(Default)]
struct Translation {
    words: Words,
    modern: Vec<OsString>,
    deprecated: Vec<Deprecated>,
    command: Option<String>,
    /// Namespaces for the hosts file, where an old flag has asked for that.
    hosts: Option<Vec<String>>,
}

impl Translation {
    fn word(&mut self, text: &str) {
        let is_command = self.command.is_none();
        let renamed = COMMANDS.iter().find(|(old, _)| *old == text).filter(|_| is_command);
        self.command.get_or_insert_with(|| text.to_owned());
        if is_command && text == RUN {
            self.deprecate(RUN, "preview");
        }
        match renamed {
            Some((old, new)) => {
                self.deprecate(old, new);
                self.modern.push((*new).into());
            }
            None => self.modern.push(text.into()),
        }
    }

    fn flag(&mut self, text: &str, rest: &mut Peekable<impl Iterator<Item = OsString>>) {
        let Some(flag) = text.strip_prefix("--") else {
            self.modern.push(text.into());
            return self.short_value(text, rest);
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (flag, None),
        };
        if HOSTS.contains(&name) {
            return self.hosts(name, value, rest);
        }
        if self.words.accepted.contains(&name) {
            let _ = value.or_else(|| rest.next());
            return self.deprecate(&format!("--{name}"), "nothing");
        }
        let new = RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new);
        if let Some((switch, switched)) = new.and_then(|new| new.split_once('=')) {
            self.deprecate(&format!("--{name}"), &format!("--{switch} {switched}"));
            return self.modern.push(format!("--{switch}={switched}").into());
        }
        let modern = new.unwrap_or(name);
        let takes_value = self.words.valued.get(modern).copied().unwrap_or(false);
        let value = value.or_else(|| if takes_value { rest.next() } else { None });
        if new.is_some() {
            self.deprecate(&format!("--{name}"), &format!("--{modern}"));
        }
        self.push(modern, value);
    }

    /// The value behind a bundle of short flags is no command.
    fn short_value(&mut self, text: &str, rest: &mut impl Iterator<Item = OsString>) {
        let last = text.chars().last().unwrap_or('-');
        if "ncil".contains(last) && !text.contains('=') && text.len() == text.trim_end_matches(last).len() + 1
        {
            self.modern.extend(rest.next());
        }
    }

    fn push(&mut self, name: &str, value: Option<OsString>) {
        let Some(value) = value else { return self.modern.push(format!("--{name}").into()) };
        let whole = format!("{name}={}", value.to_string_lossy());
        if let Some((old, new)) = VALUES.iter().find(|(old, _)| *old == whole) {
            self.deprecate(&spelled(old), &spelled(new));
            return self.modern.push(format!("--{new}").into());
        }
        if let Some((old, new)) = SPLIT.iter().find(|(old, _)| *old == whole) {
            self.deprecate(&spelled(old), &new.join(" "));
            self.hosts.get_or_insert_default();
            return self.modern.extend(new.iter().map(Into::into));
        }
        let mut joined = OsString::from(format!("--{name}="));
        joined.push(value);
        self.modern.push(joined);
    }

    /// `--dump2hosts`, `--dump2hosts a,b`, `--dump2hostsNS a`.
    fn hosts(
        &mut self,
        name: &str,
        value: Option<OsString>,
        rest: &mut Peekable<impl Iterator<Item = OsString>>,
    ) {
        let has_command = self.command.is_some();
        let is_value = |next: &OsString| has_command && !next.to_string_lossy().starts_with('-');
        let value = value.or_else(|| rest.next_if(is_value)).unwrap_or_default();
        let value = value.to_string_lossy();
        self.deprecate(&format!("--{name}"), "--dnsMode hosts");
        let named = value.split(',').filter(|part| !part.is_empty() && !["true", "false"].contains(part));
        let hosts = self.hosts.get_or_insert_default();
        hosts.extend(named.map(str::to_owned));
    }

    /// The old flags are one today. Who types today's, means that.
    fn end(&mut self) {
        let is_typed = self.modern.iter().any(|flag| flag.to_string_lossy().starts_with("--dnsMode"));
        if let (Some(hosts), false) = (self.hosts.take(), is_typed) {
            let list = if hosts.is_empty() { String::new() } else { format!(":{}", hosts.join(",")) };
            self.modern.push(format!("--dnsMode=hosts{list}").into());
        }
    }

    fn deprecate(&mut self, old: &str, new: &str) {
        self.deprecated.push(Deprecated { old: old.into(), new: new.into() });
    }
}

fn spelled(flag: &str) -> String {
    format!("--{}", flag.replacen('=', " ", 1))
}
