//! Ends that can undo nothing in the cluster, as the API server can not be reached or all rights are gone:
//! what stays is named with its commands, the laptop is as before at once, and the next start does the rest.
//! For `connect` and `exchange` see `failures.rs` and `rights.rs`.

use std::time::Duration;

use e2e::{Cluster, DEMO, Laptop, Snapshot, wait_until};

const URL: &str = "http://tomcat:8080";
/// Within how many seconds it must end.
const TOLD: u64 = 25;

/// A command, what it names when it can not undo anything, and who answers then.
struct Line {
    args: &'static [&'static str],
    ready: &'static str,
    named: &'static [&'static str],
    meanwhile: fn(&Cluster),
}

const MESH: Line = Line {
    args: &["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine"],
    ready: "Now you can",
    named: &[
        ">> end every mesh of the service by: ktctl -n NAMESPACE recover tomcat",
        ">> remove what remains by: kubectl -n NAMESPACE delete pod/tomcat-kt-mesh-mine configmap/tomcat-kt-mesh-mine",
    ],
    meanwhile: |cluster| {
        for header in [None, Some("VERSION: mine")] {
            wait_until("the originals answer", Duration::from_secs(25), || {
                cluster.get_with(URL, header).is_ok_and(|page| page.contains(DEMO)).then_some(())
            });
        }
    },
};

const SCALE: Line = Line {
    args: &["exchange", "tomcat", "--expose", "8080", "--mode", "scale"],
    ready: "will be redirected to local",
    named: &[
        ">> give the deployment its pods back by: kubectl -n NAMESPACE scale deployment/tomcat --replicas=1",
        ">> remove what remains by: kubectl -n NAMESPACE delete pod/tomcat-kt-exchange-",
    ],
    meanwhile: nobody_answers,
};

const PREVIEW: Line = Line {
    args: &["preview", "mine", "--expose", "8080"],
    ready: "Now you can",
    named: &[
        ">> remove the service by: kubectl -n NAMESPACE delete service/mine",
        ">> remove what remains by: kubectl -n NAMESPACE delete pod/mine-kt-",
    ],
    meanwhile: |_| {},
};

fn nobody_answers(cluster: &Cluster) {
    wait_until("callers meet nobody", Duration::from_secs(25), || cluster.get(URL).err());
}

#[test]
fn the_end_of_a_mesh_without_the_api_server_names_what_stays() {
    without_the_api_server("endmesh", &MESH);
}

#[test]
fn the_end_of_a_scaled_exchange_without_the_api_server_names_what_stays() {
    without_the_api_server("endscale", &SCALE);
}

#[test]
fn the_end_of_a_preview_without_the_api_server_names_what_stays() {
    without_the_api_server("endpreview", &PREVIEW);
}

#[test]
fn the_end_of_a_mesh_whose_rights_are_gone_names_what_stays() {
    without_rights("nomesh", &MESH);
}

#[test]
fn the_end_of_a_scaled_exchange_whose_rights_are_gone_names_what_stays() {
    without_rights("noscale", &SCALE);
}

#[test]
fn the_end_of_a_preview_whose_rights_are_gone_names_what_stays() {
    without_rights("nopreview", &PREVIEW);
}

fn without_the_api_server(name: &str, line: &Line) {
    let names_all = |text: &str| assert!(text.contains("the API server "), "{text}");
    ends_undone(
        name,
        line,
        |_, laptop| laptop.link(&["--down"]),
        names_all,
        |_, laptop| {
            laptop.link(&["--up"]);
        },
    );
}

fn without_rights(name: &str, line: &Line) {
    let names_all = |text: &str| assert!(text.contains("is forbidden: "), "{text}");
    ends_undone(
        name,
        line,
        |cluster, _| take_all_rights(cluster),
        names_all,
        |cluster, _| {
            give_rights_back(cluster);
        },
    );
}

fn ends_undone(
    name: &str,
    line: &Line,
    break_it: impl Fn(&Cluster, &Laptop),
    names_why: impl Fn(&str),
    mend_it: impl Fn(&Cluster, &Laptop),
) {
    let (cluster, laptop) = Laptop::with_cluster(name);
    cluster.grant(include_str!("../../docs/rbac/exchange-scale.yaml"));
    // Pods that were scaled away come back under other names.
    let picture = || cluster.snapshot().without(&["objects"]);
    let (in_cluster, ours) = (picture(), helpers(&cluster));
    let on_laptop = laptop.snapshot();
    let mut run = laptop.ktctl(&[line.args, &["--skipPortChecking"]].concat());
    run.wait_for(line.ready, 60);

    break_it(&cluster, &laptop);
    let ended = run.interrupt(TOLD);
    mend_it(&cluster, &laptop);

    assert_eq!(ended.code, 1, "{}", ended.text);
    names_why(&ended.text);
    let named = line.named.iter().map(|text| text.replace("NAMESPACE", cluster.namespace()));
    for text in named.chain(["Exit: not everything could be undone, as said above".to_owned()]) {
        assert!(ended.text.contains(&text), "{text} is not in: {}", ended.text);
    }
    // The run's journal stays: the next start on this laptop does the rest.
    laptop.snapshot().without(&["kt folders"]).assert_as(&on_laptop.without(&["kt folders"]));
    (line.meanwhile)(&cluster);
    let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for(&format!("Cleaned up after {}", line.args[0]), 30);
    assert_eq!(next.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&on_laptop);
    cluster.wait_ready("tomcat");
    Snapshot::wait_until_as(&in_cluster, 15, picture);
    wait_until("nothing of ours is left", Duration::from_secs(15), || {
        (helpers(&cluster) == ours).then_some(())
    });
}

fn helpers(cluster: &Cluster) -> String {
    let list = ["get", "pods,services,configmaps", "-l", "control-by=kt", "-o", "name"];
    cluster.kubectl(&list).expect("list what is ours")
}

/// What binds the user to his roles in the namespace.
const BINDINGS: [(&str, &str); 2] =
    [("developer", "ktctl-all-commands-mini"), ("ktctl-exchange-scale", "ktctl-exchange-scale")];

fn take_all_rights(cluster: &Cluster) {
    for (binding, _) in BINDINGS {
        cluster.kubectl(&["delete", "rolebinding", binding]).expect("unbind the role");
    }
    wait_until("the rights are gone", Duration::from_secs(5), || may(cluster).err());
}

fn give_rights_back(cluster: &Cluster) {
    for (binding, role) in BINDINGS {
        let role = format!("--role={role}");
        cluster
            .kubectl(&["create", "rolebinding", binding, &role, "--user=developer"])
            .expect("bind the role");
    }
    wait_until("the rights are back", Duration::from_secs(5), || may(cluster).ok());
}

fn may(cluster: &Cluster) -> Result<String, String> {
    cluster.kubectl(&["auth", "can-i", "patch", "services", "--as=developer"])
}
