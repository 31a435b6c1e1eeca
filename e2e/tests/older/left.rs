//! What an older client has left is put back by us.

use super::*;

#[test]
fn what_an_older_client_has_left_is_recovered() {
    let (cluster, laptop) = Laptop::with_cluster("oldleft");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();

    old.make_exchange();
    cluster.wait_for_answer(URL, OLD, NODES);
    let refused = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080", "--skipPortChecking"]).wait(30);
    let text = "service 'tomcat' is already exchanging by another user (veteran), cannot apply exchange";
    assert!(refused.code == 1 && refused.text.contains(text), "{}", refused.text);
    let recovered = laptop.ktctl(&["recover", "tomcat"]).wait(30);
    assert_eq!(recovered.code, 0, "{}", recovered.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());

    old.make_version();
    old.make_router_pod("testbed/echo:local");
    old.lead_to("router");
    let recovered = laptop.ktctl(&["recover", "tomcat"]).wait(30);
    assert_eq!(recovered.code, 0, "{}", recovered.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

type Make = fn(&Older<'_>);

#[test]
fn what_an_older_client_has_scaled_meshed_by_hand_or_wrapped_is_recovered() {
    let (cluster, laptop) = Laptop::with_cluster("oldforms");
    for role in [
        include_str!("../../../docs/rbac/exchange-scale.yaml"),
        include_str!("../../../docs/rbac/use-shadow-deployment.yaml"),
    ] {
        cluster.grant(role);
    }
    let old = Older::new(&cluster, &laptop);
    // Pods that were scaled away come back under other names.
    let picture = || cluster.snapshot().without(&["objects"]);
    let before = picture();
    let forms: [(&str, Make); 3] = [
        ("scale deployment tomcat to 1", |old| old.make_scaled_exchange()),
        ("delete pod tomcat-kt-mesh-old", |old| old.make_mesh_by_hand()),
        ("delete deployment tomcat-kt-exchange-abcde", |old| old.make_wrapped_exchange()),
    ];

    for (repair, make) in forms {
        make(&old);
        cluster.wait_for_answer(URL, OLD, NODES);
        let recovered = laptop.ktctl(&["recover", "tomcat"]).wait(30);

        assert_eq!(recovered.code, 0, "{repair}: {}", recovered.text);
        assert!(recovered.text.contains(repair), "{repair} is not in: {}", recovered.text);
        cluster.wait_ready("tomcat");
        cluster.wait_for_answer(URL, DEMO, NODES);
        Snapshot::wait_until_as(&before, 30, picture);
        wait_until("nothing of it is left", Duration::from_secs(15), || {
            let list = ["get", "pods,services,configmaps,deployments", "-l", "control-by=kt", "-o", "name"];
            cluster.kubectl(&list).expect("a list").is_empty().then_some(())
        });
    }
}
