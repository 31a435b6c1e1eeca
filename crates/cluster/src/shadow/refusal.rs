//! Which refusals have an answer: what is tried once more, and without what.

use std::fmt;

use super::failure::{Error, Failure};
use super::plan::{Arch, Place};
use super::wanted::ShadowWanted;
use crate::api::ApiError;

/// How a pod differs from the planned one because the cluster wanted it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// No kernel settings; what does not work therefore.
    NoSysctls {
        /// Listening below 1024.
        low_port: bool,
        /// Sending pings.
        ping: bool,
    },
    /// Requests and limits, because a quota demands numbers.
    Limits {
        /// The refusal.
        message: String,
    },
    /// No user id of ours: the cluster gives its own.
    NoUser {
        /// The refusal.
        message: String,
    },
    /// The program for another processor.
    OtherArch {
        /// Which.
        arch: Arch,
        /// What the first try met.
        message: String,
    },
}

impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Adjustment::NoSysctls { low_port, ping } => {
                f.write_str("The cluster allows no kernel settings in pods")?;
                match (low_port, ping) {
                    (true, true) => f.write_str(": ports below 1024 and ping will not work"),
                    (true, false) => f.write_str(": ports below 1024 will not work"),
                    _ => f.write_str(": ping will be answered 'unreachable'"),
                }
            }
            Adjustment::Limits { .. } => {
                f.write_str("A quota demands limits, using 50m and 64Mi (see --podQuota)")
            }
            Adjustment::NoUser { .. } => f.write_str("The cluster chooses the user of the pod"),
            Adjustment::OtherArch { arch, message } => {
                write!(f, "Trying the program for {}: {message}", arch.word())
            }
        }
    }
}

/// The answer to a failure, if there is one and it was not given before.
pub(super) fn answer(failed: &Error, wanted: &ShadowWanted, place: &Place) -> Option<Adjustment> {
    let adjustment = match failed {
        Error::Creating { source: ApiError::Refused(message), .. } => answer_admission(message, wanted)?,
        Error::Failed { failure: Failure::Sysctl(_), .. } => without_sysctls(wanted)?,
        Error::Failed { failure: failure @ (Failure::WrongArch(_) | Failure::NoSuchNode(_)), .. } => {
            let arch = place.arch?.other();
            let built = match arch {
                Arch::X86_64 => wanted.programs.x86_64,
                Arch::Aarch64 => wanted.programs.aarch64,
            };
            (!built.is_empty()).then(|| Adjustment::OtherArch { arch, message: failure.to_string() })?
        }
        _ => return None,
    };
    (!place.adjustments.has(&adjustment)).then_some(adjustment)
}

fn answer_admission(message: &str, wanted: &ShadowWanted) -> Option<Adjustment> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let lower = message.to_lowercase(); // of a policy, which an administrator has worded
    if says(&["must specify limits", "must specify requests", "must specify cpu", "must specify memory"])
        || (message.contains("failed quota") && message.contains("must specify"))
    {
        Some(Adjustment::Limits { message: message.to_owned() })
    } else if lower.contains("sysctl") || lower.contains("kernel setting") {
        without_sysctls(wanted)
    } else if says(&["runAsUser", "runAsGroup"]) {
        Some(Adjustment::NoUser { message: message.to_owned() })
    } else {
        None
    }
}

fn without_sysctls(wanted: &ShadowWanted) -> Option<Adjustment> {
    let (low_port, ping) = (wanted.low_port(), wanted.ping);
    (low_port || ping).then_some(Adjustment::NoSysctls { low_port, ping })
}

#[cfg(test)]
mod tests {
    use super::super::borrow::Image;
    use super::super::plan::Adjustments;
    use super::super::wanted::Programs;
    use super::*;
    use crate::marks::Role;

    fn wanted() -> ShadowWanted {
        let programs = Programs { x86_64: b"elf", aarch64: b"elf" };
        ShadowWanted { ping: true, ..ShadowWanted::new(Role::Connect, "x", programs) }
    }

    fn place() -> Place {
        Place {
            namespace: "dev".into(),
            now: 0,
            mark: String::new(),
            image: Image::Given("x".into()),
            arch: Some(Arch::X86_64),
            adjustments: Adjustments::default(),
        }
    }

    fn refused(message: &str) -> Error {
        let source = ApiError::Refused(message.into());
        Error::Creating { kind: "pod", name: "x".into(), source }
    }

    #[test]
    fn a_quota_that_wants_numbers_gets_them_once() {
        let failed = refused("failed quota: quota: must specify limits.cpu for: standalone");
        let mut place = place();

        let first = answer(&failed, &wanted(), &place).unwrap();
        place.adjust(&first);

        assert!(matches!(first, Adjustment::Limits { .. }));
        assert_eq!(answer(&failed, &wanted(), &place), None);
    }

    #[test]
    fn sysctls_are_left_out_and_the_loss_is_said() {
        let failed = refused("violates PodSecurity: forbidden sysctls (net.ipv4.ping_group_range)");

        let answer = answer(&failed, &wanted(), &place()).unwrap();

        let said = "The cluster allows no kernel settings in pods: ping will be answered 'unreachable'";
        assert_eq!(answer.to_string(), said);
    }

    #[test]
    fn another_processor_is_tried_if_there_is_a_program_for_it() {
        let failure = Failure::WrongArch("exec format error".into());
        let message = failure.to_string();
        let failed = Error::Failed { pod: "x".into(), failure };
        let none = ShadowWanted { programs: Programs::default(), ..wanted() };

        let other = Adjustment::OtherArch { arch: Arch::Aarch64, message };
        assert_eq!(answer(&failed, &wanted(), &place()), Some(other));
        assert_eq!(answer(&failed, &none, &place()), None);
    }

    #[test]
    fn an_exceeded_quota_has_no_answer() {
        let failed = refused("exceeded quota: quota, requested: pods=1, used: pods=3");

        assert_eq!(answer(&failed, &wanted(), &place()), None);
    }
}
