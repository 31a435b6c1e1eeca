//! Figures over the laptop's plain link, where the processors are the limit: throughput, requests
//! per second, fairness, memory, and the processor time of each process.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use e2e::{Cluster, Laptop};

use crate::measure::Rounds;
use crate::processes::Watch;
use crate::table::{Better, Figure, Table, short};
use crate::ways::{Way, Ways, order};

/// Bytes of one transfer: a second or two, so that the start does not count.
const BYTES: f64 = 512e6;
/// More than any flow reads in its time.
const ENDLESS: &str = "bytes?n=1000000000000";

/// Processor seconds of a kind of load: for each process, on both ways.
struct Spent {
    title: &'static str,
    /// How many GB or requests one value stands for.
    amount: BTreeMap<Way, f64>,
    seconds: BTreeMap<(&'static str, Way), f64>,
}

/// Measures, and gives the processor times as tables in Markdown.
pub(crate) fn measure(cluster: &Cluster, laptop: &Laptop, rounds: usize, table: &mut Table) -> String {
    let mut ways = Ways::open(cluster, laptop);
    let watch = Watch::new(cluster, laptop);
    let mut spent = String::new();
    say_peaks(&watch, "start");
    spent += &download(&mut ways, &watch, rounds, table);
    say_peaks(&watch, "download");
    spent += &upload(&mut ways, &watch, rounds, table);
    say_peaks(&watch, "upload");
    spent += &requests(&mut ways, &watch, rounds, table);
    say_peaks(&watch, "requests");
    flows(&mut ways, rounds, table);
    say_peaks(&watch, "flows");
    stalled(&mut ways, rounds, table);
    say_peaks(&watch, "stalled reader");
    memory(&watch, table);
    spent
}

fn download(ways: &mut Ways, watch: &Watch, rounds: usize, table: &mut Table) -> String {
    let mut rates = Rounds::new("download, one flow", "MB/s");
    let mut spent = Spent::new("Download, processor seconds per GB");
    for way in (0..rounds).flat_map(order) {
        let url = ways.url(way, &format!("bytes?n={BYTES}"));
        let seconds = spent.on(way, watch, BYTES / 1e9, || ways.load(&["down", &url]))[1];
        rates.add(way, BYTES / 1e6 / seconds);
    }
    table.add(rates.figure(Better::Higher, 0.8, 1.0));
    spent.text()
}

fn upload(ways: &mut Ways, watch: &Watch, rounds: usize, table: &mut Table) -> String {
    let mut rates = Rounds::new("upload, one flow", "MB/s");
    let mut spent = Spent::new("Upload, processor seconds per GB");
    for way in (0..rounds).flat_map(order) {
        let url = ways.url(way, "sink");
        let seconds = spent.on(way, watch, BYTES / 1e9, || ways.load(&["up", &url, &BYTES.to_string()]))[1];
        rates.add(way, BYTES / 1e6 / seconds);
    }
    table.add(rates.figure(Better::Higher, 0.7, 0.9));
    spent.text()
}

fn requests(ways: &mut Ways, watch: &Watch, rounds: usize, table: &mut Table) -> String {
    let mut rates = Rounds::new("requests on 8 kept connections", "1/s");
    let mut spent = Spent::new("Requests, processor seconds per 10,000");
    for way in (0..rounds).flat_map(order) {
        let url = ways.url(way, "status/200");
        let before = watch.look();
        let said = ways.load(&["get", &url, "3", "8"]);
        spent.add(way, said[0] / 1e4, &watch.look().spent_since(&before));
        rates.add(way, said[0] / said[1]);
    }
    table.add(rates.figure(Better::Higher, 0.6, 0.9));
    spent.text()
}

fn flows(ways: &mut Ways, rounds: usize, table: &mut Table) {
    let mut rates = Rounds::new("slowest of 16 flows, against their mean", "MB/s");
    let url = ways.url(Way::Ours, ENDLESS);
    for _ in 0..rounds {
        let each = ways.load(&["flows", &url, "6", "16"]);
        rates.add(Way::Ours, each.iter().copied().fold(f64::INFINITY, f64::min) / 1e6);
        rates.add(Way::Theirs, each.iter().sum::<f64>() / each.len() as f64 / 1e6);
    }
    table.add(rates.figure(Better::Higher, 0.7, 0.7));
}

/// Compares a download beside one that nobody reads with a download alone.
fn stalled(ways: &mut Ways, rounds: usize, table: &mut Table) {
    let mut rates = Rounds::new("download beside a stalled reader, against alone", "MB/s");
    let url = ways.url(Way::Ours, ENDLESS);
    for _ in 0..rounds {
        rates.add(Way::Theirs, ways.load(&["flows", &url, "3", "1"])[0] / 1e6);
        let mut stall = ways.start(&["stall", &url]);
        stall.wait_for("stalled", 10);
        rates.add(Way::Ours, ways.load(&["flows", &url, "3", "1"])[0] / 1e6);
    }
    table.add(rates.figure(Better::Higher, 0.8, 0.95));
}

/// Shows which load raises the memory of which process.
fn say_peaks(watch: &Watch, after: &str) {
    let seen = watch.look();
    let peak = |role| format!("{role} {:.1}", seen.memory(role));
    println!("peak memory in MiB after {after}: {}", ["ktctl", "helper", "shadow"].map(peak).join(", "));
}

/// The peaks of all that was before.
fn memory(watch: &Watch, table: &mut Table) {
    let seen = watch.look();
    let peaks = [
        ("peak memory of ktctl", "ktctl", 40.0),
        ("peak memory of its root helper", "helper", 8.0),
        ("peak memory of the shadow", "shadow", 12.0),
    ];
    for (name, role, must) in peaks {
        let (unit, better, ours) = ("MiB", Better::Lower, seen.memory(role));
        table.add(Figure { name, unit, ours, theirs: None, better, must, wanted: must });
    }
}

impl Spent {
    fn new(title: &'static str) -> Self {
        Self { title, amount: BTreeMap::new(), seconds: BTreeMap::new() }
    }

    /// Makes a load, and notes what the processes spend for this amount.
    fn on<T>(&mut self, way: Way, watch: &Watch, amount: f64, load: impl FnOnce() -> T) -> T {
        let before = watch.look();
        let said = load();
        self.add(way, amount, &watch.look().spent_since(&before));
        said
    }

    fn add(&mut self, way: Way, amount: f64, seconds: &BTreeMap<&'static str, f64>) {
        *self.amount.entry(way).or_default() += amount;
        for (role, seconds) in seconds {
            *self.seconds.entry((role, way)).or_default() += seconds;
        }
    }

    fn text(&self) -> String {
        let mut roles: Vec<&str> = self.seconds.keys().map(|(role, _)| *role).collect();
        roles.dedup();
        let each = |role, way| self.seconds.get(&(role, way)).unwrap_or(&0.0) / self.amount[&way];
        let sum = |way| roles.iter().map(|role| each(role, way)).sum::<f64>();
        let mut text = format!("| {} | ours | theirs |\n|---|--:|--:|\n", self.title);
        for role in &roles {
            let (ours, theirs) = (each(role, Way::Ours), each(role, Way::Theirs));
            let _ = writeln!(text, "| {role} | {} | {} |", short(ours), short(theirs));
        }
        text + &format!("| all | {} | {} |\n\n", short(sum(Way::Ours)), short(sum(Way::Theirs)))
    }
}
