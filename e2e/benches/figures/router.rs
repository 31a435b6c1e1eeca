//! Figures of the router of `mesh` against nginx, both on the loopback in front of the same origin.
//! The test bed is not used.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use e2e::{Proxy, Speech};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::many::{Made, Many};
use crate::measure::Rounds;
use crate::origin;
use crate::table::{Better, Figure, Table};
use crate::ways::{Way, order};

/// How long one load goes on.
const TIME: Duration = Duration::from_secs(2);
/// Before it, so that connections to the origin are there.
const WARM_UP: Duration = Duration::from_millis(200);
/// A caller who is silent for longer has shown that it is.
const SILENT: Duration = Duration::from_secs(1);
/// Connections for the memory.
const OPEN: usize = 1000;

/// A kind of load, and what our rate has to reach.
struct Load {
    name: &'static str,
    /// Of the processor time of one request.
    time: &'static str,
    path: &'static str,
    connections: usize,
    must: f64,
    wanted: f64,
}

const LOADS: [Load; 3] = [
    Load {
        name: "router: requests on 64 connections, against nginx",
        time: "router: processor time of a request on 64 connections",
        path: "/100",
        connections: 64,
        must: 1.0,
        wanted: 1.2,
    },
    Load {
        name: "router: requests on one connection",
        time: "router: processor time of a request on one connection",
        path: "/100",
        connections: 1,
        must: 0.5,
        wanted: 0.9,
    },
    Load {
        name: "router: answers of 1 MiB on 8 connections",
        time: "router: processor time of an answer of 1 MiB",
        path: "/1048576",
        connections: 8,
        must: 1.2,
        wanted: 1.5,
    },
];

/// Measures; what can not be counts as missed.
pub(crate) fn measure(rounds: usize, table: &mut Table) {
    let two = std::thread::available_parallelism().is_ok_and(|processors| processors.get() >= 2);
    pin(0, 0).expect("the load has a processor");
    let origin = origin::start(Ipv4Addr::LOCALHOST).expect("the origin starts");
    let router =
        || Proxy::router(origin).expect("the router starts").expect("the router is built: make build");
    for load in &LOADS {
        match Proxy::nginx(origin, Speech::Http1).expect("nginx starts") {
            Some(nginx) if two => against(load, &router(), &nginx, rounds, table),
            _ => {
                println!("{}: it needs two processors and nginx (scripts/setup.sh peers)", load.name);
                judge(load, &load.rates(), &load.times(), table);
            }
        }
    }
    table.add(memory(&router()).expect("the router serves 1,000 connections"));
}

/// One load on both, in turns.
fn against(load: &Load, router: &Proxy, nginx: &Proxy, rounds: usize, table: &mut Table) {
    for proxy in [router, nginx] {
        pin(proxy.id(), 1).expect("the proxy has a processor of its own");
    }
    let (mut rates, mut times) = (load.rates(), load.times());
    for way in (0..rounds).flat_map(order) {
        let proxy = if way == Way::Theirs { nginx } else { router };
        let (made, time) = run(load, proxy).expect("the load is served");
        rates.add(way, made.requests / made.seconds);
        times.add(way, time / made.requests * 1e6);
    }
    judge(load, &rates, &times, table);
}

fn judge(load: &Load, rates: &Rounds, times: &Rounds, table: &mut Table) {
    table.add(rates.figure(Better::Higher, load.must, load.wanted));
    table.add(times.figure(Better::Lower, 1.2, 1.0));
}

impl Load {
    fn rates(&self) -> Rounds {
        Rounds::new(self.name, "1/s")
    }

    fn times(&self) -> Rounds {
        Rounds::new(self.time, "µs")
    }
}

/// Ties a process to a processor; 0 is this thread, and those that it starts. Else it is a matter of luck, and of a factor of two, which of them share one.
fn pin(process: u32, processor: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(process.cast_signed()), &set)
}

/// What was made, and the processor seconds of the proxy.
fn run(load: &Load, proxy: &Proxy) -> io::Result<(Made, f64)> {
    let mut many = Many::open(proxy.address, load.connections)?;
    many.ask_for(load.path, WARM_UP)?;
    let before = proxy.time()?;
    let made = many.ask_for(load.path, TIME)?;
    Ok((made, proxy.time()? - before))
}

/// Our peak with connections that are silent first, and then wait for an answer, all at once.
fn memory(proxy: &Proxy) -> io::Result<Figure> {
    let mut many = Many::open(proxy.address, OPEN)?;
    std::thread::sleep(SILENT);
    println!("router: memory with {OPEN} silent connections: {:.1} MiB", proxy.memory()?);
    many.ask_once(&format!("/hold/{OPEN}"))?;
    let mut peak = Rounds::new("router: memory with 1,000 connections that wait for an answer", "MiB");
    peak.add(Way::Ours, proxy.memory()?);
    Ok(peak.figure(Better::Lower, 24.0, 24.0))
}
