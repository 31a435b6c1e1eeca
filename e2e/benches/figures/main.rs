//! `make bench`: what `ktctl` costs and how fast it is, against `kubectl port-forward` to the same
//! pod from the same laptop, and what the router of `mesh` costs against nginx, in turns. Fails when a figure misses what it must reach.
//!
//! `KT_BENCH_ROUNDS` is the number of rounds, 5 where it is not set; medians of them are compared.
//! The same program, called as `figures load …` on the laptop, makes the load: see [`load`].

mod load;
mod losses;
#[cfg(target_os = "linux")]
mod many;
mod measure;
#[cfg(target_os = "linux")]
mod origin;
mod plain;
mod processes;
#[cfg(target_os = "linux")]
mod router;
mod slow;
mod starts;
mod table;
mod ways;

use std::process::ExitCode;

use e2e::{Cluster, Laptop};

use crate::table::Table;

/// The fewest rounds whose medians mean something.
const ROUNDS: usize = 5;
/// What can be asked for alone: `cargo bench -p e2e --bench figures -- slow`.
const PARTS: [&str; 5] = ["starts", "plain", "slow", "losses", "router"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("load") => load::main(&args[1..]),
        // As `cargo bench` calls it. `cargo test` must not start minutes of load.
        _ if args.iter().any(|arg| arg == "--bench") => figures(&args),
        _ => {
            eprintln!("usage: cargo bench -p e2e --bench figures [-- PART…], or `make bench`");
            ExitCode::SUCCESS
        }
    }
}

fn figures(args: &[String]) -> ExitCode {
    let parts: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--bench").collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        eprintln!("no part is called {unknown}, there are: {}", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    let wants = |part: &str| parts.is_empty() || parts.contains(&part);
    let rounds = rounds();
    let mut table = Table::default();
    let mut spent = String::new();
    if PARTS[..3].iter().any(|part| wants(part)) {
        spent = against_port_forward(wants, rounds, &mut table);
    }
    if wants("losses") {
        losses::measure(rounds, &mut table);
    }
    #[cfg(target_os = "linux")]
    if wants("router") {
        router::measure(rounds, &mut table);
    }
    println!("\n{table}\n\n{spent}");
    if table.is_reached() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The parts that need the test bed; gives the processor times as tables in Markdown.
fn against_port_forward(wants: impl Fn(&str) -> bool, rounds: usize, table: &mut Table) -> String {
    let cluster = Cluster::new("bench");
    let laptop = Laptop::lease(&cluster);
    conditions(&cluster, &laptop, rounds);
    let mut spent = String::new();
    if wants("starts") {
        starts::measure(&cluster, &laptop, rounds, table);
    }
    if wants("plain") {
        spent = plain::measure(&cluster, &laptop, rounds, table);
    }
    if wants("slow") {
        slow::measure(&cluster, &laptop, rounds, table);
    }
    spent
}

fn rounds() -> usize {
    let told = std::env::var("KT_BENCH_ROUNDS").ok();
    told.map_or(ROUNDS, |rounds| rounds.parse().expect("KT_BENCH_ROUNDS is a number")).max(1)
}

/// What the figures depend on besides the programs.
fn conditions(cluster: &Cluster, laptop: &Laptop, rounds: usize) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let congestion = laptop.run(&["cat", "/proc/sys/net/ipv4/tcp_congestion_control"]).text;
    let nodes = cluster
        .kubectl(&["get", "pods", "-l", "app=tomcat", "-o", "jsonpath={.items[*].spec.nodeName}"])
        .unwrap_or_default();
    println!(
        "{rounds} rounds, {processors} processors, load before {}, Linux {}, TCP {congestion}, pod on {nodes}, {}",
        read("/proc/loadavg"),
        read("/proc/sys/kernel/osrelease"),
        e2e::ktctl()
    );
}
