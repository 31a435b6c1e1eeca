//! Whole roles: what somebody can do who has one of those that we ship, or one that he has anyway.

use std::time::Duration;

use e2e::{Cluster, DEMO, LOCAL, Laptop, Snapshot, wait_until};

const URL: &str = "http://tomcat:8080";
const CONNECT_MINI: &str = include_str!("../../docs/rbac/connect-only-mini.yaml");
const CONNECT_FULL: &str = include_str!("../../docs/rbac/connect-only-full.yaml");
const ALL_FULL: &str = include_str!("../../docs/rbac/all-commands-full.yaml");
/// How long each node may take to learn who stands behind a service, in seconds.
const NODES: u64 = 6;

#[test]
fn the_role_for_connect_alone_is_enough_for_connect() {
    let (cluster, laptop) = Laptop::with_cluster("only");
    cluster.apply(CONNECT_MINI);
    let account = laptop.become_account(&cluster, "only");
    bind(&cluster, "rolebinding", "--role=ktctl-connect-only-mini");

    connects(&cluster, &laptop, &account);
}

#[test]
fn the_role_for_connect_in_the_whole_cluster_misses_nothing() {
    let (cluster, laptop) = Laptop::with_cluster("widely");
    cluster.apply(CONNECT_FULL);
    let account = laptop.become_account(&cluster, "only");
    let _bound = Widely::bind(&cluster, "ktctl-connect-only-full");

    let said = connects(&cluster, &laptop, &account);

    assert!(!said.contains("ithout the right"), "{said}");
}

#[test]
fn the_role_for_all_commands_in_the_whole_cluster_is_enough_for_each() {
    let (cluster, laptop) = Laptop::with_cluster("all");
    cluster.apply(ALL_FULL);
    let account = laptop.become_account(&cluster, "only");
    let _bound = Widely::bind(&cluster, "ktctl-all-commands-full");
    let before = cluster.snapshot().without(&["objects"]); // one that was scaled has new pods
    let _local = laptop.serve(8080, LOCAL);
    let mut connect = laptop.connect(&["-c", &account]);
    assert!(!connect.text().contains("ithout the right"), "{}", connect.text());

    for line in [
        "exchange tomcat --expose 8080",
        "exchange tomcat --expose 8080 --useShadowDeployment",
        "exchange tomcat --expose 8080 --mode scale",
        "mesh tomcat --expose 8080 --versionMark mine",
        "mesh tomcat --expose 8080 --mode manual",
        "preview mine --expose 8080",
        "run mine --port 8080 --expose",
    ] {
        let words: Vec<&str> = ["-c", &account].into_iter().chain(line.split(' ')).collect();
        let mut command = laptop.ktctl(&words);
        command.wait_for("Now ", 40);
        let seen = laptop.ktctl(&["-c", &account, "birdseye"]).wait(15).ok();
        assert!(seen.contains(laptop.user()), "{line}: {seen}");
        let ended = command.interrupt(60);
        assert_eq!(ended.code, 0, "{line}: {}", ended.text);
        assert!(!ended.text.contains("ithout the right"), "{line}: {}", ended.text);
    }
    for line in ["recover tomcat", "clean"] {
        let words: Vec<&str> = ["-c", &account].into_iter().chain(line.split(' ')).collect();
        laptop.ktctl(&words).wait(30).ok();
    }

    cluster.wait_for_answer(URL, DEMO, NODES);
    assert_eq!(connect.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot().without(&["objects"]));
}

#[test]
fn the_role_edit_of_kubernetes_is_enough_for_both_directions() {
    let cluster = Cluster::new("edit");
    let laptop = Laptop::lease(&cluster);
    let editor = laptop.become_also(&cluster, "editor", "edit");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let mut connect = laptop.connect(&["--kubeconfig", &editor]);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080", "--kubeconfig", &editor]);
    exchange.wait_for("will be redirected to local", 30);

    wait_until("the service comes here", Duration::from_secs(NODES), || {
        laptop.get(URL).text.contains(LOCAL).then_some(())
    });
    assert_eq!(exchange.interrupt(15).code, 0);
    assert_eq!(connect.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn a_guest_who_may_only_look_sees_who_does_what_and_is_told_what_he_may_not() {
    let cluster = Cluster::new("guest");
    let laptop = Laptop::lease(&cluster);
    let guest = laptop.become_also(&cluster, "guest", "guest");
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);

    let seen = laptop.ktctl(&["birdseye", "--kubeconfig", &guest]).wait(15).ok();
    let refused = laptop.ktctl(&["preview", "mine", "--expose", "8080", "--kubeconfig", &guest]).wait(20);

    assert!(seen.contains(&format!("> tomcat - exchanged by [{}]", laptop.user())), "{seen}");
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("right to create"), "{}", refused.text);
}

/// Connects with this kubeconfig, whose account may not change services, looks and ends; what was said.
fn connects(cluster: &Cluster, laptop: &Laptop, account: &str) -> String {
    let in_cluster = cluster.snapshot();
    let on_laptop = laptop.snapshot();
    let mut connect = laptop.connect(&["-c", account]);

    let delete = ["kubectl", "--kubeconfig", account, "delete", "service", "tomcat", "--dry-run=server"];
    let refused = laptop.run(&delete);
    assert!(refused.text.contains("orbidden"), "the small role is not what counts: {}", refused.text);
    assert!(laptop.get(URL).ok().contains(DEMO));

    let ended = connect.interrupt(15);
    assert_eq!(ended.code, 0, "{}", ended.text);
    laptop.snapshot().assert_as(&on_laptop);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
    ended.text
}

fn bind(cluster: &Cluster, kind: &str, role: &str) {
    let account = format!("--serviceaccount={}:only", cluster.namespace());
    cluster.kubectl(&["create", kind, cluster.namespace(), role, &account]).expect("bind the role");
}

/// A role that the account has in every namespace, until this is dropped.
struct Widely<'a>(&'a Cluster);

impl<'a> Widely<'a> {
    fn bind(cluster: &'a Cluster, role: &str) -> Self {
        bind(cluster, "clusterrolebinding", &format!("--clusterrole={role}"));
        Self(cluster)
    }
}

impl Drop for Widely<'_> {
    fn drop(&mut self) {
        if let Err(said) = self.0.kubectl(&["delete", "clusterrolebinding", self.0.namespace()]) {
            eprintln!("a role stays bound: {said}");
        }
    }
}
