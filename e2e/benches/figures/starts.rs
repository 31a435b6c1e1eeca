//! How long `connect`, `exchange` and `mesh` take from the command to the words that say it is done.

use std::time::Instant;

use e2e::{Cluster, LOCAL, Laptop, Running};

use crate::measure::Rounds;
use crate::table::{Better, Table};
use crate::ways::Way;

pub(crate) fn measure(cluster: &Cluster, laptop: &Laptop, rounds: usize, table: &mut Table) {
    let mut connect = Rounds::new("connect until ready", "s");
    let mut exchange = Rounds::new("exchange until ready", "s");
    let mut mesh = Rounds::new("mesh until ready", "s");
    let _local = laptop.serve(8080, LOCAL);
    for _ in 0..rounds {
        connect.add(Way::Ours, until("All looks good", || laptop.sudo_ktctl(&["connect"])));
        let start = || laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
        exchange.add(Way::Ours, until("Now all request to", start));
        cluster.wait_for_answer("http://tomcat:8080", e2e::DEMO, 15);
        let start = || laptop.ktctl(&["mesh", "tomcat", "--expose", "8080"]);
        mesh.add(Way::Ours, until("Now you can access your service", start));
    }
    table.add(connect.figure(Better::Lower, 3.0, 3.0));
    table.add(exchange.figure(Better::Lower, 3.0, 3.0));
    table.add(mesh.figure(Better::Lower, 3.0, 3.0));
}

/// Seconds from the start of a program until it says something; then it is ended.
fn until(words: &str, start: impl FnOnce() -> Running) -> f64 {
    let begin = Instant::now();
    let mut program = start();
    program.wait_for(words, 30);
    let took = begin.elapsed().as_secs_f64();
    program.interrupt(20).ok();
    took
}
