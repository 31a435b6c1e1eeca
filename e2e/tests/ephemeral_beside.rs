//! `exchange --mode ephemeral` beside the other modes and beside itself: whoever comes second is told who
//! is there, and what is dead is no obstacle.

use std::sync::OnceLock;
use std::time::Duration;

use e2e::{Cluster, DEMO, Ended, LOCAL, Laptop, Running, load_program_as, skip, wait_until};

const URL: &str = "http://tomcat:8080";
const IMAGE: &str = "kt-connect-shadow:beside";
const INSIDE: [&str; 5] = ["exchange", "--mode", "ephemeral", "--image", IMAGE];
const OTHERS: [&[&str]; 3] = [&["exchange"], &["exchange", "--mode", "scale"], &["mesh"]];
const READY: &str = "will be redirected to local";

#[test]
fn other_modes_name_who_is_inside_of_the_pods_and_change_nothing() {
    let Some((cluster, first, second)) = bed("beside") else { return };
    let mut inside = start(&first, &INSIDE, READY);
    let before = cluster.snapshot();

    for (command, laptop) in OTHERS.into_iter().zip([&second, &second, &second]).chain([(OTHERS[0], &first)])
    {
        let refused = refused(laptop, command);

        let user = first.user();
        let said = format!("service 'tomcat' is already exchanging by another user ({user}@");
        assert_says(&refused, &[&said, "in mode ephemeral for ", &format!("ask {user} to end it")]);
        assert_says(&refused, &[&format!("cannot apply {}", command[0])]);
        cluster.snapshot().assert_as(&before);
    }

    let mut by_hand = start(&second, &["mesh", "--mode", "manual"], "Istio rule");
    assert!(by_hand.text().contains("exchanges pods of service 'tomcat'"), "{}", by_hand.text());
    assert_eq!(by_hand.interrupt(20).code, 0);
    assert_eq!(inside.interrupt(20).code, 0);
    let mut next = start(&second, OTHERS[0], READY);
    assert_eq!(next.interrupt(20).code, 0);
}

#[test]
fn a_killed_run_inside_of_the_pods_keeps_its_laptop_from_nothing_and_others_until_it_has_ended() {
    let Some((cluster, first, second)) = bed("besidekill") else { return };
    let _locals = [first.serve(8080, LOCAL), second.serve(8080, "page of the second")];
    let _killed = start(&first, &INSIDE, READY);
    kill(&first);

    assert_says(&refused(&second, OTHERS[0]), &["is already exchanging by another user"]);
    let mut own = start(&first, OTHERS[0], READY);
    assert!(own.text().contains("still have containers of a killed run"), "{}", own.text());
    cluster.wait_for_answer(URL, LOCAL, 6);
    assert_eq!(own.interrupt(20).code, 0);
    cluster.kill_in(&pods(&cluster)[0], "shadow"); // it ends by itself after 5 minutes
    wait_until("the end of the container is reported", Duration::from_secs(10), || {
        let path = "jsonpath={.items[*].status.ephemeralContainerStatuses[*].state.running}";
        let running = cluster.kubectl(&["get", "pods", "-l", "app=tomcat", "-o", path]).ok()?;
        running.is_empty().then_some(())
    });
    let mut next = start(&second, OTHERS[0], READY);
    cluster.wait_for_answer(URL, "page of the second", 6);
    assert_eq!(next.interrupt(20).code, 0);
}

#[test]
fn mode_ephemeral_names_who_has_the_service_in_another_mode_and_touches_no_pod() {
    let Some((cluster, first, second)) = bed("besideother") else { return };
    for (command, who) in OTHERS.into_iter().zip([
        format!("is already exchanging by another user ({})", first.user()),
        format!("deployment 'tomcat' is already exchanging by another user ({})", first.user()),
        format!("ask {} to end it", first.user()),
    ]) {
        let mut other = start(&first, command, "Now ");
        let before = cluster.snapshot();

        let refused = refused(&second, &INSIDE);

        assert_says(&refused, &[&who, &format!("ask {} to end it", first.user())]);
        cluster.snapshot().assert_as(&before);
        assert_eq!(other.interrupt(60).code, 0);
    }
}

#[test]
fn mode_ephemeral_puts_a_service_back_that_a_dead_run_has_left() {
    let Some((cluster, first, second)) = bed("besidedead") else { return };
    let service = || cluster.snapshot().part("Service/tomcat").map(<[String]>::to_vec);
    let before = service();
    let _local = second.serve(8080, LOCAL);
    let _dead = start(&first, OTHERS[0], READY);
    kill(&first);
    first.run(&["rm", "-rf", ".kt"]).ok();
    cluster.age(&["tomcat-kt-"], 600);
    assert_ne!(service(), before);

    let mut inside = start(&second, &INSIDE, READY);

    assert!(inside.text().contains("had left service tomcat redirected"), "{}", inside.text());
    assert_eq!(service(), before);
    cluster.wait_for_answer(URL, LOCAL, 6);
    assert_eq!(inside.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, 6);
}

#[test]
fn of_two_who_come_in_the_same_instant_one_goes_on_and_the_other_is_told_who_that_is() {
    let Some((_cluster, first, second)) = bed("besiderace") else { return };
    for other in [&INSIDE[..], OTHERS[0]] {
        let line = |command: &[&'static str]| {
            [command, &["tomcat", "--expose", "8080", "--skipPortChecking"]].concat()
        };

        let mut both = [first.ktctl(&line(&INSIDE)), second.ktctl(&line(other))];

        let done = |run: &mut Running| run.text().contains(READY) || !run.is_running();
        wait_until("both are through", Duration::from_secs(40), || both.iter_mut().all(done).then_some(()));
        let loser = usize::from(both[0].is_running());
        let told = both[loser].wait(10);
        assert_eq!(told.code, 1, "{}", told.text);
        let user = [second.user(), first.user()][loser];
        assert_says(&told, &[&format!("is already exchanging by another user ({user}")]);
        assert_says(&told, &[&format!("ask {user} to end it")]);
        let winner = &mut both[1 - loser];
        assert!(winner.text().contains(READY), "{}", winner.text());
        assert_eq!(winner.interrupt(20).code, 0);
    }
}

fn start(laptop: &Laptop, command: &[&str], ready: &str) -> Running {
    let mut run = laptop.ktctl(&[command, &["tomcat", "--expose", "8080", "--skipPortChecking"]].concat());
    run.wait_for(ready, 60);
    run
}

fn refused(laptop: &Laptop, command: &[&str]) -> Ended {
    let line = [command, &["tomcat", "--expose", "8080", "--skipPortChecking"]].concat();
    let ended = laptop.ktctl(&line).wait(30);
    assert_eq!(ended.code, 1, "{command:?}: {}", ended.text);
    ended
}

fn assert_says(ended: &Ended, all: &[&str]) {
    for text in all {
        assert!(ended.text.contains(text), "{text:?} is not said: {}", ended.text);
    }
}

fn kill(laptop: &Laptop) {
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
}

fn pods(cluster: &Cluster) -> Vec<String> {
    let names = ["get", "pods", "-l", "app=tomcat", "-o", "jsonpath={.items[*].metadata.name}"];
    cluster.kubectl(&names).expect("list the pods").split(' ').map(String::from).collect()
}

/// A namespace whose user may add containers and scale, and two laptops.
fn bed(name: &str) -> Option<(Cluster, Laptop, Laptop)> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    if !*LOADED.get_or_init(|| load_program_as("shadow", IMAGE)) {
        skip(name, "there is no program for pods: run `make build`");
        return None;
    }
    let cluster = Cluster::lax(name);
    cluster.grant(include_str!("../../docs/rbac/exchange-ephemeral.yaml"));
    cluster.grant(include_str!("../../docs/rbac/exchange-scale.yaml"));
    let first = Laptop::lease(&cluster);
    let second = Laptop::lease_another(name, &cluster)?;
    Some((cluster, first, second))
}
