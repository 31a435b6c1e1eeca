//! The table as the kernel understands it, in a network namespace of the test's own.

use std::process::Command;

use kt_wire::Protocol;

use super::*;

/// Set in the process that has a network namespace of its own.
const INSIDE: &str = "KT_INSIDE";

#[test]
fn the_kernel_understands_the_table_and_takes_it_away_with_its_socket() {
    if !is_inside("the_kernel_understands_the_table_and_takes_it_away_with_its_socket") {
        return;
    }
    let tcp = Redirect { protocol: Protocol::Tcp, from: 8080, to: 40_000 };
    let udp = Redirect { protocol: Protocol::Udp, from: 53, to: 40_001 };
    let web = Redirect { protocol: Protocol::Tcp, from: 80, to: 40_002 };
    let from = ["10.0.0.1", "fd00::1"].map(|address| address.parse().expect("address"));
    let probes = Probes { from: from.to_vec(), ports: vec![8080, 53] };
    let none = Probes::default();
    let table = Table::make().expect("make");

    table.set(&probes, &[tcp, udp, web]).expect("lead");

    let rules = ruleset();
    let wanted = [
        "table inet kt_exchange { # progname",
        "type nat hook prerouting priority dstnat; policy accept;",
        "iifname \"lo\" return",
        "ip saddr 10.0.0.1 tcp dport 8080 return",
        "ip6 saddr fd00::1 tcp dport 8080 return",
        "tcp dport 8080 tcp flags ",
        "redirect to :40000",
        "udp dport 53 redirect to :40001",
        "tcp dport 80 ",
        "redirect to :40002",
    ];
    let mut rest = rules.as_str();
    for line in wanted {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line:?} is not there, in its order: {rules}"));
        rest = &rest[at..];
    }
    assert!(rules.contains("flags owner") && rules.matches("saddr").count() == 2, "{rules}");
    table.set(&none, &[tcp]).expect("replace");
    let fewer = ruleset();
    assert!(fewer.contains("8080") && !fewer.contains("saddr") && !fewer.contains("udp"), "{fewer}");
    table.set(&none, &[]).expect("empty");
    let empty = ruleset();
    assert!(empty.contains("hook prerouting") && !empty.contains("redirect to"), "{empty}");
    table.remove().expect("remove");
    assert_eq!(ruleset(), "");
    let again = Table::make().expect("once more");
    again.set(&none, &[tcp]).expect("lead");
    drop(again); // as when it is killed: nothing is sent any more
    assert_eq!(ruleset(), "");
}

#[test]
fn answers_to_what_was_refused_are_not_taken_for_answers_to_the_next() {
    if !is_inside("answers_to_what_was_refused_are_not_taken_for_answers_to_the_next") {
        return;
    }
    let table = Table::open().expect("open");

    let refused = table.carry_out(&made(1 << 30)).expect_err("no kernel knows such a flag");

    assert!(is_unknown(&refused), "{refused}");
    table.carry_out(&made(0)).expect("the fallback of older kernels");
    let tcp = Redirect { protocol: Protocol::Tcp, from: 8080, to: 40_000 };
    table.set(&Probes::default(), &[tcp]).expect("lead");
}

/// Whether this is the process with a network of its own; else runs the test in such a one.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let test = format!("{}::{test}", module_path!().split_once("::").map_or("", |(_, path)| path));
    let this = std::env::current_exe().expect("this program");
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--net"]).arg(this).args(["--exact", &test, "--nocapture"]);
    match inside.env(INSIDE, "1").output() {
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        }
        Err(error) => eprintln!("skipped {test}: unshare can not be started: {error}"),
    }
    false
}

fn ruleset() -> String {
    let listed = Command::new("nft").args(["list", "ruleset"]).output().expect("nft is installed");
    String::from_utf8_lossy(&listed.stdout).into_owned()
}
