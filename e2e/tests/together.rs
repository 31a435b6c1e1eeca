//! Several developers at one service, and in one namespace: who may do what beside whom.

use std::time::Duration;

use e2e::{Cluster, DEMO, Kind, Laptop, Running, Snapshot, skip, wait_until};

const URL: &str = "http://tomcat:8080";
/// What programs on the first laptop answer, and what those on the second do.
const ONE: &str = "page of one";
const TWO: &str = "page of two";
const THREE: &str = "another page of two";
/// How long after the ready text a caller may still take the old way, in seconds.
const NODES: u64 = 6;

#[test]
fn a_second_exchange_is_told_whose_the_service_is_and_may_follow() {
    let Some((cluster, one, two)) = bed("follow") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];
    let mut connect = two.connect(&[]);
    let mut first = exchange(&one, &["tomcat", "--expose", "8080"]);

    let refused = two.ktctl(&["exchange", "tomcat", "--expose", "8080"]).wait(20);

    assert_eq!(refused.code, 1, "{}", refused.text);
    for part in [
        &format!(
            "Exit: service 'tomcat' is already exchanging by another user ({}), cannot apply exchange",
            one.user()
        ),
        &format!(">> ask {} to end it", one.user()),
    ] {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
    cluster.wait_for_answer(URL, ONE, NODES);
    assert!(two.get(URL).ok().contains(ONE), "who is connected hears what the cluster hears");
    assert_eq!(first.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);

    let mut second = exchange(&two, &["tomcat", "--expose", "8080"]);

    cluster.wait_for_answer(URL, TWO, NODES);
    assert_eq!(connect.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, TWO, NODES);
    assert_eq!(second.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn versions_live_side_by_side_whoever_comes_and_goes() {
    let Some((cluster, one, two)) = bed("beside") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO), two.serve(8081, THREE)];
    let mut connect = one.connect(&[]);

    let mut first = mesh(&one, "one", "8080");
    let mut second = mesh(&two, "two", "8080");
    let mut third = mesh(&two, "team:three", "8081:8080");
    let all = [("VERSION: one", ONE), ("VERSION: two", TWO), ("TEAM: three", THREE)];
    get_these(&cluster, &all);
    let seen = one.run(&["curl", "-sS", "-m", "5", "-H", "TEAM: three", URL]).ok();
    assert!(seen.contains(THREE), "who is connected can call a version, too: {seen}");

    // Who made the router goes first, and comes back.
    assert_eq!(first.interrupt(20).code, 0);
    get_these(&cluster, &[("VERSION: one", DEMO), all[1], all[2]]);
    let mut first = mesh(&one, "one", "8080");
    get_these(&cluster, &all);
    assert_eq!(third.interrupt(20).code, 0);
    get_these(&cluster, &[all[0], all[1], ("TEAM: three", DEMO)]);
    assert_eq!(second.interrupt(20).code, 0);
    get_these(&cluster, &[all[0], ("VERSION: two", DEMO), ("TEAM: three", DEMO)]);
    assert_eq!(first.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
    assert_eq!(connect.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn a_value_that_is_taken_is_refused_under_another_key_too() {
    let Some((cluster, one, two)) = bed("taken") else { return };
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];
    let mut first = mesh(&one, "mine", "8080");

    for mark in ["mine", "team:mine"] {
        let line = ["mesh", "tomcat", "--expose", "8080", "--versionMark", mark];
        let refused = two.ktctl(&line).wait(20);

        assert_eq!(refused.code, 1, "{mark}: {}", refused.text);
        let text = "Another user is meshing service 'tomcat' via version 'mine', \
                    please specify a different version mark";
        assert!(refused.text.contains(text), "{mark}: {}", refused.text);
    }

    get_these(&cluster, &[("VERSION: mine", ONE)]);
    assert_eq!(first.interrupt(20).code, 0);
    let mut second = mesh(&two, "team:mine", "8080");
    get_these(&cluster, &[("TEAM: mine", TWO), ("VERSION: mine", DEMO)]);
    assert_eq!(second.interrupt(20).code, 0);
}

#[test]
fn a_service_is_either_exchanged_or_meshed_and_the_refused_learn_by_whom() {
    let Some((cluster, one, two)) = bed("either") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];

    let mut meshed = mesh(&one, "one", "8080");
    let refused = two.ktctl(&["exchange", "tomcat", "--expose", "8080"]).wait(20);
    assert_eq!(refused.code, 1, "{}", refused.text);
    for part in [
        "Exit: another user is meshing service 'tomcat', cannot apply exchange",
        &format!(">> ask {} to end it", one.user()),
        "`ktctl mesh tomcat`",
    ] {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
    get_these(&cluster, &[("VERSION: one", ONE)]);
    assert_eq!(meshed.interrupt(20).code, 0);

    let mut exchanged = exchange(&two, &["tomcat", "--expose", "8080"]);
    let refused = one.ktctl(&["mesh", "tomcat", "--expose", "8080"]).wait(20);
    assert_eq!(refused.code, 1, "{}", refused.text);
    for part in [
        &format!("another user ({}) is exchanging service 'tomcat', cannot apply mesh", two.user()),
        &format!(">> ask {} to end it", two.user()),
    ] {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
    cluster.wait_for_answer(URL, TWO, NODES);
    assert_eq!(exchanged.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

// covers: 2-4
#[test]
fn who_meshes_by_hand_is_told_that_all_callers_go_to_somebody_else() {
    let Some((cluster, one, two)) = bed("byhand") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];
    let mut exchange = exchange(&one, &["tomcat", "--expose", "8080"]);

    let mut mesh = two.ktctl(&["mesh", "tomcat", "--mode", "manual", "--expose", "8080"]);

    let told = format!("{} is exchanging service 'tomcat', nobody comes here until that ends", one.user());
    mesh.wait_for(&told, 20);
    mesh.wait_for("Istio rule", 30);
    cluster.wait_for_answer(URL, ONE, NODES);
    assert_eq!(exchange.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, TWO, 2 * NODES);
    assert_eq!(mesh.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn a_team_connects_exchanges_and_meshes_at_once_and_each_ends_by_itself() {
    let Some((cluster, one, two)) = bed("team") else { return };
    cluster.kubectl(&["expose", "deployment", "tomcat", "--name", "shop", "--port", "8080"]).unwrap();
    cluster.wait_for_answer(SHOP, DEMO, 10);
    let (on_one, on_two, in_cluster) = (one.snapshot(), two.snapshot(), cluster.snapshot());
    let locals = [one.serve(8080, ONE), two.serve(8080, TWO)];

    let (mut connect_one, mut connect_two) = (one.connect(&[]), two.connect(&[]));
    let mut exchange = exchange(&one, &["tomcat", "--expose", "8080"]);
    let mut mesh = two.ktctl(&["mesh", "shop", "--expose", "8080", "--versionMark", "two"]);
    mesh.wait_for("Now you can", 40);

    cluster.wait_for_answer(URL, ONE, NODES);
    for laptop in [&one, &two] {
        wait_until("both see what both do", Duration::from_secs(NODES), || {
            let marked = laptop.run(&["curl", "-sS", "-m", "5", "-H", "VERSION: two", SHOP]).text;
            let pages = [laptop.get(URL).text, laptop.get(SHOP).text, marked];
            pages.iter().zip([ONE, DEMO, TWO]).all(|(page, wanted)| page.contains(wanted)).then_some(())
        });
    }
    assert_eq!(connect_one.interrupt(15).code, 0);
    assert_eq!(exchange.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
    assert!(cluster.get_with(SHOP, Some("VERSION: two")).expect("an answer").contains(TWO));
    assert!(two.get(URL).ok().contains(DEMO), "the second is connected still");
    assert_eq!(mesh.interrupt(20).code, 0);
    assert_eq!(connect_two.interrupt(15).code, 0);
    drop(locals);
    one.snapshot().assert_as(&on_one);
    two.snapshot().assert_as(&on_two);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
}

#[test]
fn two_who_mesh_at_the_same_moment_both_get_in_and_both_get_out() {
    let Some((cluster, one, two)) = bed("moment") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];

    for _ in 0..2 {
        let mut both = [(&one, "one"), (&two, "two")].map(|(laptop, mark)| {
            laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", mark])
        });
        for run in &mut both {
            run.wait_for("Now you can", 45);
        }
        get_these(&cluster, &[("VERSION: one", ONE), ("VERSION: two", TWO)]);
        for run in &mut both {
            run.signal("INT");
        }
        for mut run in both {
            let ended = run.wait(30);
            assert_eq!(ended.code, 0, "{}", ended.text);
        }
        cluster.wait_for_answer(URL, DEMO, NODES);
        Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
    }
}

#[test]
fn two_whose_meshes_were_killed_start_again_at_the_same_moment() {
    let Some((cluster, one, two)) = bed("again") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];
    let start = || {
        let mut both = [(&one, "one"), (&two, "two")].map(|(laptop, mark)| {
            laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", mark])
        });
        both.iter_mut().for_each(|run| drop(run.wait_for("Now you can", 45)));
        both
    };
    let killed = start();
    for laptop in [&one, &two] {
        kill9_all(laptop);
    }

    let both = start();

    get_these(&cluster, &[("VERSION: one", ONE), ("VERSION: two", TWO)]);
    for (run, laptop) in both.iter().zip([&one, &two]) {
        assert!(run.text().contains("Cleaned up after mesh"), "{}: {}", laptop.name(), run.text());
    }
    for mut run in both {
        let ended = run.interrupt(30);
        assert_eq!(ended.code, 0, "{}", ended.text);
    }
    drop(killed);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn a_run_that_is_killed_while_it_holds_the_lock_does_not_keep_its_user_out() {
    let cluster = Cluster::new("lockdead");
    let one = Laptop::lease(&cluster);
    let before = cluster.snapshot();
    let _local = one.serve(8080, ONE);

    for line in [&["mesh", "--versionMark", "mine"][..], &["exchange"]] {
        let line = [line, &["tomcat", "--expose", "8080"]].concat();
        kill_while_it_is_locked(&one, &line);

        let mut next = one.ktctl(&line);

        next.wait_for("Now ", 20);
        assert!(!next.text().contains("waiting for lock"), "{}", next.text());
        assert_eq!(next.interrupt(20).code, 0);
        Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
    }
}

#[test]
fn others_learn_who_holds_the_lock_and_what_to_do_if_that_run_is_dead() {
    let Some((cluster, one, two)) = bed("lockheld") else { return };
    let before = cluster.snapshot();
    let _locals = [one.serve(8080, ONE), two.serve(8080, TWO)];
    let line = ["exchange", "tomcat", "--expose", "8080"];
    kill_while_it_is_locked(&one, &line);

    let refused = two.ktctl(&line).wait(60);

    assert_eq!(refused.code, 1, "{}", refused.text);
    let waiting = "Another user is occupying service tomcat, waiting for lock ...";
    for part in [
        &format!("{waiting} ({}@", one.user()),
        "Exit: failed to obtain kt lock of service tomcat, please try again later",
        "if that run is dead, `ktctl recover tomcat` takes it away",
    ] {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
    assert_eq!(two.ktctl(&["recover", "tomcat"]).wait(20).code, 0);
    let mut second = exchange(&two, &["tomcat", "--expose", "8080"]);
    assert_eq!(second.interrupt(15).code, 0);
    // The shadow of the killed run goes with the next start there.
    let mut next = one.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("Cleaned up after exchange", 20);
    assert_eq!(next.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

/// Kills a run as soon as it has locked the service.
fn kill_while_it_is_locked(laptop: &Laptop, line: &[&str]) {
    let mut killed = laptop.ktctl(line);
    killed.wait_for("Service tomcat locked", 20);
    kill9_all(laptop);
}

/// As when the battery is taken out.
fn kill9_all(laptop: &Laptop) {
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
}

/// A second service before the same pods.
const SHOP: &str = "http://shop:8080";

/// Waits until each header gets its page; what has no mark goes to the pods.
fn get_these(cluster: &Cluster, wanted: &[(&str, &str)]) {
    for (header, page) in wanted {
        wait_until(&format!("{header} gets {page:?}"), Duration::from_secs(NODES), || {
            cluster.get_with(URL, Some(header)).is_ok_and(|answer| answer.contains(page)).then_some(())
        });
    }
    let plain = cluster.get(URL).expect("an answer without a mark");
    assert!(plain.contains(DEMO), "without a mark: {plain}");
}

/// A namespace and two developers. Their laptops are of two kinds: two tests that each hold a plain
/// one and want a second plain one would wait for each other.
fn bed(name: &str) -> Option<(Cluster, Laptop, Laptop)> {
    let cluster = Cluster::new(name);
    let one = Laptop::lease(&cluster);
    let Some(two) = Laptop::lease_kind(&cluster, Kind::Vpn) else {
        skip(name, "the test bed has no laptop of kind Vpn");
        return None;
    };
    Some((cluster, one, two))
}

fn exchange(laptop: &Laptop, args: &[&str]) -> Running {
    let mut exchange = laptop.ktctl(&[&["exchange"], args].concat());
    exchange.wait_for("will be redirected to local", 30);
    exchange
}

fn mesh(laptop: &Laptop, mark: &str, expose: &str) -> Running {
    let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--expose", expose, "--versionMark", mark]);
    mesh.wait_for("Now you can", 40);
    mesh
}
