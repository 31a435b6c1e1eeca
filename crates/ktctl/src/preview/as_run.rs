//! `ktctl run`, the old look of `preview`: the shadow is a Deployment of the service's name, and the
//! service is made only when asked for.

use kt_cluster::target::Expose;
use kt_host::shutdown::Triggers;

use super::Form;
use crate::cli::{Global, Ports, Preview, Run};
use crate::failure::Usage;

/// Checks what can be checked before anything is touched; tells what `preview` is asked for.
pub(crate) fn check(ask: &Run) -> Result<Preview, Usage> {
    let port = ask.port.filter(|port| *port != 0).ok_or_else(|| Usage("--port is required".into()))?;
    let pair = Expose { laptop: port, cluster: port, udp: false };
    let preview = Preview {
        services: ask.services.clone(),
        expose: Some(Ports { pairs: vec![pair], text: port.to_string() }),
        external: false,
        skip_port_checking: ask.skip_port_checking,
        proxy_protocol: false,
        events: ask.events,
    };
    super::check(&preview)?;
    Ok(preview)
}

/// Runs until something ends it, and removes what it has made.
pub(crate) async fn run(global: &Global, ask: &Run, triggers: Triggers) -> anyhow::Result<()> {
    let preview = check(ask)?;
    let mut global = global.clone();
    global.use_shadow_deployment = true;
    let form = Form::Run { makes_service: ask.expose };
    super::run_in(form, &global, &preview, triggers).await
}
