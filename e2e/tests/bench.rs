//! Unit tests of `benches/figures`: that program has no test harness, as it takes words itself.

#[allow(dead_code, reason = "the program uses it")]
#[path = "../benches/figures/load.rs"]
mod load;
#[allow(dead_code, reason = "the program uses it")]
#[path = "../benches/figures/processes.rs"]
mod processes;
#[path = "../benches/figures/table.rs"]
mod table;

use std::collections::BTreeMap;

use load::length;
use processes::{Picture, Process, parse};
use table::{Better, Figure, Table, Verdict, median};

#[test]
fn the_length_of_a_good_answer_is_found_in_any_case_of_letters() {
    assert_eq!(length("HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 12").unwrap(), 12);
    assert!(length("HTTP/1.1 200 OK\r\nDate: x").is_err());
    assert!(length("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 12").is_err());
}

const SEEN: &str = "\
  7 root /bin/kube kube-apiserver --x
  8 dev1 /w/target/ktctl connect
  9 root ktctl root-helper
 10 65532 /kt/shadow --port 1
 11 65532 /kt/shadow --port 1
==
7 (kube) S 1 7 7 0 -1 0 1 1 1 1 150 50 0 0
8 (a) b) S 1 7 7 0 -1 0 1 1 1 1 10 0 0 0
9 (ktctl) S 1 7 7 0 -1 0 1 1 1 1 0 0 0 0
10 (shadow) S 1 7 7 0 -1 0 1 1 1 1 20 0 0 0
11 (shadow) S 1 7 7 0 -1 0 1 1 1 1 20 0 0 0
==
/proc/8/status:VmHWM:\t    2048 kB
==
/proc/10/cgroup:0::/kubepods/pod12-34/abc
/proc/11/cgroup:0::/kubepods/pod56-78/abc
";

#[test]
fn processes_get_roles_and_pods_of_others_do_not_count() {
    let seen = parse(SEEN, "dev1", &["12-34".into()]);

    let roles: Vec<_> = seen.iter().map(|(pid, process)| (*pid, process.role, process.time)).collect();
    let expected = [(7, "apiserver", 2.0), (8, "ktctl", 0.1), (9, "helper", 0.0), (10, "shadow", 0.2)];
    assert_eq!(roles, expected);
    assert_eq!(seen[&8].memory, 2.0);
}

#[test]
fn time_is_counted_from_the_earlier_picture() {
    let picture = |time| {
        let process = Process { role: "ktctl", time, memory: 1.0 };
        Picture { processes: BTreeMap::from([(("laptop1".to_owned(), 8), process)]) }
    };

    assert_eq!(picture(3.0).spent_since(&picture(1.0))["ktctl"], 2.0);
    assert_eq!(picture(3.0).spent_since(&Picture::default())["ktctl"], 3.0);
    assert!(picture(3.0).memory("shadow").is_nan());
}

fn download(ours: f64) -> Figure {
    let (better, must, wanted) = (Better::Higher, 0.8, 1.0);
    Figure { name: "download", unit: "MB/s", ours, theirs: Some(100.0), better, must, wanted }
}

#[test]
fn a_ratio_is_judged_where_there_is_something_to_compare_with() {
    assert_eq!(download(100.0).verdict(), Verdict::Good);
    assert_eq!(download(90.0).verdict(), Verdict::BelowWish);
    assert_eq!(download(79.0).verdict(), Verdict::Missed);
}

#[test]
fn without_comparison_the_value_itself_is_judged() {
    let memory =
        |ours| Figure { theirs: None, better: Better::Lower, must: 8.0, wanted: 8.0, ..download(ours) };

    assert_eq!(memory(7.9).verdict(), Verdict::Good);
    assert_eq!(memory(8.1).verdict(), Verdict::Missed);
}

#[test]
fn what_was_not_measured_is_missed() {
    assert_eq!(download(f64::NAN).verdict(), Verdict::Missed);
    assert_eq!(
        Figure { theirs: None, better: Better::Lower, ..download(median(&[])) }.verdict(),
        Verdict::Missed
    );
}

#[test]
fn one_missed_figure_fails_the_table() {
    let mut table = Table::default();
    table.add(download(90.0));
    assert!(table.is_reached());

    table.add(download(1.0));

    assert!(!table.is_reached());
    assert!(table.to_string().contains("| download | MB/s | 1.00 | 100 | 0.01 | ≥ 0.8 | ≥ 1 | **missed** |"));
}

#[test]
fn a_median_leaves_one_outlier_alone() {
    assert_eq!(median(&[3.0, 900.0, 1.0]), 3.0);
}
