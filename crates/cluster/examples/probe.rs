//! Tries the crate against a real cluster: `probe KUBECONFIG NAMESPACE DEED [ARGUMENT...]`.
//!
//! For developers of this crate; the tests of the commands live in `e2e`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kt_cluster::leftovers::{Recovery, plan_recover, plan_sweep};
use kt_cluster::marks::{Config, Role};
use kt_cluster::redirect::Owner;
use kt_cluster::shadow::{Programs, ShadowPort, ShadowWanted};
use kt_cluster::target::{Expose, TargetName};
use kt_cluster::tunnel::Dialect;
use kt_cluster::{Access, Cluster, names};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [kubeconfig, namespace, deed, rest @ ..] = &words[..] else {
        bail!("usage: probe KUBECONFIG NAMESPACE DEED [ARGUMENT...]");
    };
    let access = Access {
        kubeconfig: Some(kubeconfig.into()),
        namespace: Some((*namespace).to_owned()),
        ..Access::default()
    };
    let cluster = Cluster::connect(&access).await?;
    match (*deed, rest) {
        ("about", []) => about(&cluster).await,
        ("http", [pod, port]) => http(&cluster, pod, port.parse()?).await,
        ("forward", [pod, port]) => {
            println!("{:?}", cluster.port_forward(pod, port.parse()?).await?);
            println!("{:?}", cluster.port_forward(pod, port.parse()?).await?);
            Ok(())
        }
        ("echo", [pod, port, megabytes]) => echo(&cluster, pod, port.parse()?, megabytes.parse()?).await,
        ("opens", [pod, port, count]) => opens(&cluster, pod, port.parse()?, count.parse()?).await,
        ("shadow", [program, args @ ..]) => shadow(&cluster, program, args).await,
        ("exchange", [program, service, seconds]) => {
            exchange(&cluster, program, service, seconds.parse()?).await
        }
        ("ranges", []) => ranges(&cluster).await,
        ("sweep", [seconds]) => sweep(&cluster, seconds.parse()?).await,
        ("recover", [service]) => recover(&cluster, service).await,
        _ => bail!("unknown deed"),
    }
}

async fn about(cluster: &Cluster) -> anyhow::Result<()> {
    println!("context {} cluster {} server {}", cluster.context(), cluster.name(), cluster.server());
    println!("namespace {} version {}", cluster.namespace(), cluster.version());
    println!("addresses {:?} time {}", cluster.server_addresses().await, cluster.time());
    let wanted = [("create", "", "pods/portforward"), ("list", "", "nodes")];
    println!("missing {:?}", cluster.missing_rights(&wanted).await?);
    Ok(())
}

/// One HTTP request through each dialect.
async fn http(cluster: &Cluster, pod: &str, port: u16) -> anyhow::Result<()> {
    for dialect in [Dialect::Spdy, Dialect::WebSocket] {
        let begun = Instant::now();
        let mut carrier = cluster.port_forward_by(dialect, pod, port).await?;
        println!("{dialect:?}: open after {:?}", begun.elapsed());
        carrier.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        carrier.flush().await?;
        let mut answer = Vec::new();
        let end = carrier.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        println!("{:?} {end:?} after {:?}", text.lines().next(), begun.elapsed());
    }
    Ok(())
}

/// Sends to an echo server and compares what comes back, in each dialect.
async fn echo(cluster: &Cluster, pod: &str, port: u16, megabytes: usize) -> anyhow::Result<()> {
    let sent: Vec<u8> = (0..megabytes << 20).map(|at| (at * 31 + (at >> 13)) as u8).collect();
    for dialect in [Dialect::Spdy, Dialect::WebSocket] {
        let carrier = cluster.port_forward_by(dialect, pod, port).await?;
        let (mut reader, mut writer) = tokio::io::split(carrier);
        let begun = Instant::now();
        let mut back = vec![0; sent.len()];
        let writing = async {
            writer.write_all(&sent).await?;
            writer.flush().await
        };
        let reading = async {
            // The test bed's server says its name first.
            while reader.read_u8().await? != b'\n' {}
            reader.read_exact(&mut back).await
        };
        tokio::try_join!(writing, reading)?;
        let equal = sent == back;
        println!("{dialect:?}: {megabytes} MiB there and back in {:?}, equal: {equal}", begun.elapsed());
    }
    Ok(())
}

/// Opens many port-forwards one after the other in each dialect.
async fn opens(cluster: &Cluster, pod: &str, port: u16, count: u32) -> anyhow::Result<()> {
    for dialect in [Dialect::Spdy, Dialect::WebSocket] {
        let begun = Instant::now();
        for number in 0..count {
            let mut carrier = cluster
                .port_forward_by(dialect, pod, port)
                .await
                .with_context(|| format!("opening number {number}"))?;
            carrier.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
            carrier.flush().await?;
            carrier.read_u8().await.with_context(|| format!("reading number {number}"))?;
        }
        println!("{dialect:?}: {count} in {:?}", begun.elapsed());
    }
    Ok(())
}

/// Makes a shadow of a static program for amd64 and takes it away again.
async fn shadow(cluster: &Cluster, program: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut wanted = wanted(program)?;
    wanted.args = args.iter().map(ToString::to_string).collect();
    wanted.image = std::env::var("PROBE_IMAGE").ok();
    let begun = Instant::now();
    let said = |progress| println!("{:?} {progress}", begun.elapsed());
    let shadow = cluster.ensure_shadow(&wanted, &said).await;
    println!("{shadow:?}");
    cluster.delete_shadow(&wanted.name).await?;
    println!("{:?} deleted", begun.elapsed());
    shadow.map(drop).map_err(Into::into)
}

/// Exchanges a Service for some seconds, then puts it back.
async fn exchange(cluster: &Cluster, program: &str, service: &str, seconds: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let target = cluster.find_target(&TargetName::parse(service)?).await?;
    println!("target {} selects {:?}", target.service, target.selector);
    println!("ports {:?}", target.resolve(&Expose::parse_list("8080:80")?)?);
    cluster.check_redirectable(&target.service).await?;
    let owner = Owner { user: "probe".into(), host: "here".into(), pid: std::process::id() };
    let lock = cluster.lock(&target.service, &owner, &|wait| println!("{wait}")).await?;
    let mut wanted = wanted(program)?;
    wanted.borrow_from = target.selector.clone();
    wanted.config = Config::of_service(&target.service);
    wanted.user = "probe".into();
    let shadow = cluster.ensure_shadow(&wanted, &|progress| println!("{progress}")).await?;
    let stuntman = cluster.make_stuntman(&target.service).await?;
    let redirected = cluster.redirect(&target.service, &shadow.mark(), &stuntman).await?;
    cluster.unlock(&lock).await?;
    println!("{:?} {redirected:?}", begun.elapsed());
    let beaten = cluster.beat(&[shadow.object()]).await;
    println!("{beaten:?}");
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        end = cluster.guard(&redirected, &shadow.name, &|event| println!("{event:?}")) => {
            println!("{end}");
        }
    }
    println!("{:?}", cluster.restore(&redirected).await?);
    cluster.delete_shadow(&shadow.name).await?;
    Ok(())
}

fn wanted(program: &str) -> anyhow::Result<ShadowWanted> {
    let program: &'static [u8] = Box::leak(std::fs::read(program)?.into_boxed_slice());
    let programs = Programs { x86_64: program, aarch64: b"" };
    let port = ShadowPort { name: "http".into(), number: 80, protocol: "TCP".into() };
    let name = names::exchange_shadow("echo");
    Ok(ShadowWanted { ports: vec![port], ping: true, ..ShadowWanted::new(Role::Exchange, &name, programs) })
}

async fn ranges(cluster: &Cluster) -> anyhow::Result<()> {
    let ranges = cluster.ranges(false).await?;
    println!("{:?}\nmissing {:?}", ranges.plan(), ranges.missing);
    Ok(())
}

async fn sweep(cluster: &Cluster, seconds: u64) -> anyhow::Result<()> {
    let seen = cluster.overview().await?;
    let stale = Duration::from_secs(seconds);
    let plan = plan_sweep(&seen, cluster.time(), stale, &BTreeSet::new());
    println!("missing {:?}", seen.missing);
    for (repair, outcome) in cluster.repair_all(&plan).await {
        println!("{repair}: {outcome:?}");
    }
    Ok(())
}

async fn recover(cluster: &Cluster, service: &str) -> anyhow::Result<()> {
    match plan_recover(service, &cluster.overview().await?)? {
        Recovery::Nothing(why) => println!("{why}"),
        Recovery::Repairs(plan) => {
            for (repair, outcome) in cluster.repair_all(&plan).await {
                println!("{repair}: {outcome:?}");
            }
        }
    }
    Ok(())
}
