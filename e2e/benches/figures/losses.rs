//! Requests that callers lose while a service goes to the laptop and back, in each mode that leads
//! away from pods. `preview` has nobody to take callers from.

use e2e::{Cluster, DEMO, LOCAL, Laptop, load_program_as, wait_until_they_hear};

use crate::measure::Rounds;
use crate::table::{Better, Table};
use crate::ways::Way;

const URL: &str = "http://tomcat:8080";
/// The mode `ephemeral` wants an image.
const IMAGE: &str = "kt-connect-shadow:losses";

/// Pods that are to end go on for as long as nodes may lead callers to them. Without that callers are lost
/// whenever a deployment is scaled, by whomever.
const GRACEFUL: &str = r#"{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 10,
    "containers": [{"name": "tomcat", "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}]}}}}"#;

/// A way to take callers, and the page that they get meanwhile.
struct Mode {
    name: &'static str,
    words: &'static [&'static str],
    page: &'static str,
}

const MODES: [Mode; 5] = [
    Mode { name: "requests lost by exchange --mode selector", words: &["exchange"], page: LOCAL },
    Mode {
        name: "requests lost by exchange --mode ephemeral",
        words: &["exchange", "--mode", "ephemeral", "--image", IMAGE],
        page: LOCAL,
    },
    Mode {
        name: "requests lost by exchange --mode scale",
        words: &["exchange", "--mode", "scale"],
        page: LOCAL,
    },
    Mode { name: "requests lost by mesh --mode manual", words: &["mesh", "--mode", "manual"], page: LOCAL },
    // Callers without the mark, who are all led another way as well.
    Mode { name: "requests lost by mesh --mode auto", words: &["mesh"], page: DEMO },
];

pub(crate) fn measure(rounds: usize, table: &mut Table) {
    assert!(load_program_as("shadow", IMAGE), "there is no program for pods: run `make build`");
    let cluster = Cluster::lax("losses");
    cluster.grant(include_str!("../../../docs/rbac/exchange-ephemeral.yaml"));
    cluster.grant(include_str!("../../../docs/rbac/exchange-scale.yaml"));
    cluster.kubectl(&["patch", "deployment", "tomcat", "-p", GRACEFUL]).expect("patched");
    cluster.wait_ready("tomcat");
    let laptop = Laptop::lease(&cluster);
    let _local = laptop.serve(8080, LOCAL);
    for mode in &MODES {
        let mut lost = Rounds::new(mode.name, "requests");
        lost.add(Way::Ours, losses(mode, &cluster, &laptop, rounds));
        table.add(lost.figure(Better::Lower, 0.0, 0.0));
    }
}

/// How many requests of all rounds were lost.
fn losses(mode: &Mode, cluster: &Cluster, laptop: &Laptop, rounds: usize) -> f64 {
    let callers = [cluster.callers_on("node1", URL)];
    wait_until_they_hear(&callers, DEMO);
    for _ in 0..rounds {
        let mut run = laptop.ktctl(&[mode.words, &["tomcat", "--expose", "8080"]].concat());
        run.wait_for("Now ", 60);
        wait_until_they_hear(&callers, mode.page);
        run.interrupt(60).ok();
        wait_until_they_hear(&callers, DEMO);
    }
    let said = callers[0].text();
    let lost = said.lines().filter(|line| line.contains("LOST")).count();
    println!("{}: {lost} of {} requests, {rounds} rounds", mode.name, said.lines().count());
    said.lines().filter(|line| line.contains("LOST")).take(5).for_each(|line| println!("{line}"));
    lost as f64
}
