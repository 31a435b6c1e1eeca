//! What a failure means for the user: the next step, and the exit code.
//!
//! Errors say what went wrong, each in its own crate; only this file knows what to advise.

use kt_cluster::api::ApiError;
use kt_cluster::redirect::Occupied;
use kt_cluster::target::{NoSuchPort, Unfit};
use kt_cluster::{access, ephemeral, mesh, preview, redirect, scale, shadow, target, tunnel};
use kt_wire::hello::HelloError;
use kt_wire::{Reason, Refused};

use crate::cleanup::GivenUp;

/// The user typed something that can not be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Something that we know the way out of.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Advised {
    pub(crate) text: String,
    pub(crate) advice: String,
}

impl Advised {
    pub(crate) fn new(text: impl Into<String>, advice: impl Into<String>) -> Advised {
        Advised { text: text.into(), advice: advice.into() }
    }
}

/// Tells the user; the code is for the shell.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    tracing::error!("Exit: {error:#}");
    if let Some(advice) = advice(error) {
        tracing::error!(">> {advice}");
    }
    if error.is::<Usage>() || matches!(find(error), Some(target::Error::BadName(_))) {
        return 2;
    }
    // As a shell would tell of a program that an interrupt has killed.
    if error.is::<GivenUp>() { 130 } else { 1 }
}

/// The next step, where we know one.
fn advice(error: &anyhow::Error) -> Option<String> {
    if let Some(advised) = find::<Advised>(error) {
        return Some(advised.advice.clone());
    }
    if let Some(NoSuchPort::Unknown { has, service, .. }) = find(error) {
        let has: Vec<String> = has.iter().map(u16::to_string).collect();
        return Some(match has.is_empty() {
            true => format!("service {service} has no port of that protocol"),
            false => {
                format!("it has {}; the laptop's port stands first: --expose LOCAL:REMOTE", has.join(", "))
            }
        });
    }
    if find::<crate::shadow::NoProgram>(error).is_some() {
        return Some("build it with `make build`, or name an image with --image".into());
    }
    if find::<crate::shadow::ForeignImage>(error).is_some() && find::<ephemeral::Error>(error).is_some() {
        return Some("use an image made by `make images`, or --mode selector, which needs none".into());
    }
    if find::<crate::shadow::ForeignImage>(error).is_some() {
        return Some("leave --image out, then none is needed, or use an image made by `make images`".into());
    }
    if let Some(tunnel::Error::Forbidden { right, .. }) = find(error) {
        return Some(role(&right.to_string()));
    }
    if let Some(refused) = find::<HelloError>(error) {
        return of_hello(refused);
    }
    if let Some(shadow) = find::<shadow::Error>(error).and_then(of_shadow) {
        return Some(shadow);
    }
    if let Some(ephemeral) = find::<ephemeral::Error>(error).and_then(of_ephemeral) {
        return Some(ephemeral);
    }
    if let Some(preview) = find::<preview::Error>(error).and_then(of_preview) {
        return Some(preview);
    }
    if let Some(redirect) = redirect(error).and_then(of_redirect) {
        return Some(redirect);
    }
    if let Some(scale) = find::<scale::Error>(error).and_then(of_scale) {
        return Some(scale);
    }
    if let Some(unfit) = find::<Unfit>(error) {
        return Some(of_kind(unfit));
    }
    if let Some(access::Error::Kubeconfig { .. }) = find(error) {
        return Some("name the right file with --kubeconfig or KUBECONFIG".into());
    }
    if let Some(access::Error::NoSuchContext(_)) = find(error) {
        return Some("`kubectl config get-contexts` lists them".into());
    }
    if let Some(helper) = find::<kt_host::helper::Error>(error).and_then(of_helper) {
        return Some(helper);
    }
    if let Some(Refused { reason: Reason::Forbidden, .. }) = find(error) {
        return Some(
            "ports below 1024 need a namespace that allows the sysctl ip_unprivileged_port_start".into(),
        );
    }
    find::<ApiError>(error).and_then(of_api)
}

/// Tells whether it is the pod's program that does not understand us.
pub(crate) fn is_of_another_program(error: &anyhow::Error) -> bool {
    let crashed =
        matches!(find(error), Some(shadow::Error::Failed { failure: shadow::Failure::Crashed { .. }, .. }));
    let crashed_inside = matches!(
        find(error),
        Some(ephemeral::Error::Failed { failure: shadow::Failure::Crashed { .. }, .. })
    );
    crashed
        || crashed_inside
        || match find::<HelloError>(error) {
            Some(HelloError::Foreign(_) | HelloError::Silent) => true,
            // It may be ready for a moment before it ends.
            Some(HelloError::Carrier(error)) => error.to_string().contains("failed to connect to localhost"),
            _ => false,
        }
}

fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    // What was added as a context is found by the error itself only.
    error.downcast_ref().or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}

fn role(right: &str) -> String {
    format!("ask for the right to {right}; docs/rbac/all-commands-mini.yaml has all that ktctl needs")
}

fn of_api(error: &ApiError) -> Option<String> {
    Some(match error {
        ApiError::Forbidden { right, .. } => role(&right.to_string()),
        ApiError::Unauthorized(_) => {
            "your credentials have expired or are wrong: log in again and try `kubectl get pods`".into()
        }
        ApiError::Unreachable(_) | ApiError::TimedOut => {
            "check the network, the VPN and the proxy: `kubectl version` has to reach the API server, too"
                .into()
        }
        ApiError::Credentials(_) => "run the log-in program of your kubeconfig by hand and try again".into(),
        _ => return None,
    })
}

fn of_hello(error: &HelloError) -> Option<String> {
    match error {
        HelloError::Version(_) => {
            Some("use the image of the same version as this ktctl, or leave --image out".into())
        }
        _ => None,
    }
}

fn of_shadow(error: &shadow::Error) -> Option<String> {
    match error {
        shadow::Error::NoImage { .. } => {
            Some("start any pod in the namespace, or name an image that it may pull with --image".into())
        }
        shadow::Error::Failed { failure: shadow::Failure::Image { .. }, .. } => {
            Some("check --image and --imagePullSecret; without --image no registry is needed".into())
        }
        shadow::Error::Failed { failure: shadow::Failure::NoSuchNode(_), .. } => {
            Some("no node has what the pod asks for: check --nodeSelector".into())
        }
        _ => None,
    }
}

fn of_ephemeral(error: &ephemeral::Error) -> Option<String> {
    use ephemeral::Error;
    Some(match error {
        Error::TooOld(_) | Error::NodeNetwork(_) => "use --mode selector".into(),
        Error::Sidecar { .. } => "use --mode scale, or `ktctl mesh --mode manual` with a rule of the service mesh".into(),
        Error::Denied { .. } => {
            "use --mode selector, which needs no such right, or a namespace that allows it (PodSecurity level privileged)".into()
        }
        Error::Taken { user, .. } => {
            format!("ask {user} to end it; a run that is dead leaves the pods within 5 minutes")
        }
        Error::Failed { failure: shadow::Failure::Image { .. }, .. } => {
            "check --image, and whether the pods have the secret to pull it; --mode selector needs no image".into()
        }
        Error::NoPod { .. } | Error::NotRunning(_) => "`kubectl get pods` lists them".into(),
        _ => return None,
    })
}

fn of_scale(error: &scale::Error) -> Option<String> {
    match error {
        scale::Error::Exchanged { user, .. } => Some(format!(
            "ask {user} to end it, or take it over with --mode scale --takeover; if that run is dead, `ktctl recover` of its service ends it"
        )),
        _ => None,
    }
}

fn of_preview(error: &preview::Error) -> Option<String> {
    Some(match error {
        preview::Error::Exists(service) => {
            format!("choose a name that is free, or `ktctl exchange {service}` to stand in for it")
        }
        preview::Error::Previewed { .. } => "choose another name, or ask them to end".into(),
        preview::Error::Left(_) => "`ktctl clean` removes it".into(),
        preview::Error::Api { .. } => return None,
    })
}

fn redirect(error: &anyhow::Error) -> Option<&redirect::Error> {
    match find::<mesh::Error>(error) {
        Some(mesh::Error::Redirect(redirect)) => Some(redirect),
        _ => find(error),
    }
}

fn of_redirect(error: &redirect::Error) -> Option<String> {
    match error {
        redirect::Error::Occupied(occupied) => of_occupied(occupied),
        redirect::Error::Locked { service, wait } => {
            let owner = wait.owner.as_deref().unwrap_or("an older ktctl");
            Some(format!(
                "{owner} holds the lock; if that run is dead, `ktctl recover {service}` takes it away"
            ))
        }
        _ => None,
    }
}

fn of_occupied(occupied: &Occupied) -> Option<String> {
    Some(match occupied {
        Occupied::Exchanged { service, user } => {
            format!(
                "ask {user} to end it, or take it over with --takeover; if that run is dead, `ktctl recover {service}` puts the service back"
            )
        }
        Occupied::MeshExchanged { service, user } => {
            format!(
                "ask {user} to end it; if that run is dead, `ktctl recover {service}` puts the service back"
            )
        }
        Occupied::Meshed { service, users } => {
            let users = if users.is_empty() { "them".to_owned() } else { users.join(", ") };
            format!("ask {users} to end it, or take part by `ktctl mesh {service}`")
        }
        Occupied::NoRecord { service } => {
            format!("apply service {service} anew with its own selector, and try again")
        }
        _ => return None,
    })
}

/// What works with a Service of that kind.
fn of_kind(unfit: &Unfit) -> String {
    match unfit {
        Unfit::Alias { service, .. } | Unfit::NoSelector(service) => format!(
            "`ktctl preview <new name> --expose ...` makes a service that leads here; have the callers of '{service}' call that one"
        ),
        Unfit::NodeLocal(_) => "`ktctl exchange --mode ephemeral` leads callers here inside of its pods, on every node; `ktctl mesh --mode manual` adds this laptop to its pods, for callers on one node; `ktctl preview <new name> --expose ...` makes a service that leads here from every node".into(),
    }
}

fn of_helper(error: &kt_host::helper::Error) -> Option<String> {
    use kt_host::helper::{Error, FailureKind};
    match error {
        Error::Failed { kind: FailureKind::NoTun, .. } => Some(
            "this machine has no TUN device (/dev/net/tun): use `ktctl connect --disableTunDevice`".into(),
        ),
        Error::Failed { kind: FailureKind::NoNft, .. } => Some("install the package nftables".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use kt_cluster::api::Right;

    use super::*;

    #[test]
    fn a_missing_right_is_answered_with_the_role_that_has_it() {
        let right = Right {
            verb: "create".into(),
            resource: "pods".into(),
            group: String::new(),
            namespace: Some("dev".into()),
        };
        let error = ApiError::Forbidden { right: Box::new(right), message: "pods is forbidden".into() };
        let error = Err::<(), _>(error).context("making the shadow").expect_err("error");

        let advice = advice(&error).expect("advice");

        assert!(advice.contains("create pods in namespace dev"), "{advice}");
        assert!(advice.contains("docs/rbac/all-commands-mini.yaml"), "{advice}");
    }

    #[test]
    fn an_unknown_failure_gets_no_made_up_advice() {
        assert_eq!(advice(&anyhow::anyhow!("something")), None);
    }
}
