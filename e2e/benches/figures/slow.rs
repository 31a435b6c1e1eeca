//! Figures over a slow link of the laptop, where waiting is the limit: a small request beside a
//! download, and one flow against TCP itself.

use e2e::{Cluster, Laptop};

use crate::measure::Rounds;
use crate::table::{Better, Table};
use crate::ways::{Way, Ways, numbers, order};

/// Half of the 40 ms that a packet and its answer take.
const DELAY: &str = "20ms";
const RATE: &str = "100mbit";
/// A server of the office, which the laptop reaches over the same link without any tunnel.
const RAW: &str = "http://203.0.113.80:80/bytes?n=1000000000000";
/// More than any flow reads in its time.
const ENDLESS: &str = "bytes?n=1000000000000";

pub(crate) fn measure(cluster: &Cluster, laptop: &Laptop, rounds: usize, table: &mut Table) {
    {
        let _link = laptop.slow_link(&["--delay", DELAY, "--rate", RATE]);
        beside(&mut Ways::open(cluster, laptop), rounds, table);
    }
    let _link = laptop.slow_link(&["--delay", DELAY]);
    against_tcp(&mut Ways::open(cluster, laptop), rounds, table);
}

fn beside(ways: &mut Ways, rounds: usize, table: &mut Table) {
    let mut waits = Rounds::new("small request (p50) beside a download, 100 Mbit/s, 40 ms", "ms");
    let mut rates = Rounds::new("that download", "MB/s");
    for way in (0..rounds).flat_map(order) {
        let mut download = ways.start(&["flows", &ways.url(way, ENDLESS), "9", "1"]);
        download.wait_for("flowing", 20);
        let url = ways.url(way, "status/200");
        waits.add(way, ways.load(&["get", &url, "5", "1"])[2] / 1e3);
        rates.add(way, numbers(&download.wait(30).ok())[0] / 1e6);
    }
    table.add(waits.figure(Better::Lower, 0.15, 0.15));
    table.add(rates.figure(Better::Higher, 0.8, 1.0));
}

fn against_tcp(ways: &mut Ways, rounds: usize, table: &mut Table) {
    let mut rates = Rounds::new("one flow at 40 ms, against raw TCP", "MB/s");
    for way in (0..rounds).flat_map(order) {
        let url = if way == Way::Ours { ways.url(way, ENDLESS) } else { RAW.to_owned() };
        rates.add(way, ways.load(&["flows", &url, "6", "1"])[0] / 1e6);
    }
    table.add(rates.figure(Better::Higher, 0.9, 0.9));
}
