//! Ends that nobody asked for: a killed run, a lost shadow, somebody else who recovers or cleans up.

use super::*;

#[test]
fn after_a_kill_the_next_start_on_this_laptop_gives_the_pods_back() {
    let (cluster, laptop) = bed("scalenext");
    let _local = laptop.serve(8080, LOCAL);
    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    kill(&laptop);
    assert_eq!(replicas(&cluster).0, 0);

    let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);

    next.wait_for("Deployment tomcat scaled back to 1", 20);
    next.wait_for("All looks good", 30);
    assert_eq!(next.interrupt(15).code, 0);
    as_before(&cluster);
}

// covers: 7-31
#[test]
fn after_a_kill_somebody_else_recovers_the_service() {
    let (cluster, owner) = bed("scalerec");
    let Some(other) = Laptop::lease_another("scalerec", &cluster) else { return };
    let _local = owner.serve(8080, LOCAL);
    let _exchange = exchange(&owner, &["tomcat", "--expose", "8080"]);
    kill(&owner);

    let recover = other.ktctl(&["recover", "tomcat"]).wait(20);

    assert_eq!(recover.code, 0, "{}", recover.text);
    assert!(recover.text.contains("scale deployment tomcat to 1"), "{}", recover.text);
    as_before(&cluster);
}

#[test]
fn a_shadow_that_is_lost_is_replaced_by_another_one() {
    let (cluster, laptop) = bed("scalelost");
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    let lost = shadows(&cluster);

    cluster.kubectl(&["delete", "pod", &lost[0]]).expect("delete the shadow");

    exchange.wait_for("connection restored", 40);
    cluster.wait_for_answer(URL, LOCAL, NODES);
    assert_ne!(shadows(&cluster), lost);
    assert_eq!(exchange.interrupt(60).code, 0);
    as_before(&cluster);
}

#[test]
fn a_living_exchange_ends_when_somebody_else_recovers_the_service() {
    let (cluster, owner) = bed("scaleliving");
    let Some(other) = Laptop::lease_another("scaleliving", &cluster) else { return };
    let _local = owner.serve(8080, LOCAL);
    let mut exchange = exchange(&owner, &["tomcat", "--expose", "8080"]);

    assert_eq!(other.ktctl(&["recover", "tomcat"]).wait(20).code, 0);

    let ended = exchange.wait(40);
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("somebody else has scaled deployment 'tomcat' back"), "{}", ended.text);
    as_before(&cluster);
}

#[test]
fn after_a_kill_clean_gives_the_pods_back() {
    let (cluster, laptop) = bed("scaleclean");
    let _local = laptop.serve(8080, LOCAL);
    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    kill(&laptop);

    let clean = laptop.ktctl(&["clean"]).wait(30);

    assert_eq!(clean.code, 0, "{}", clean.text);
    assert!(clean.text.contains("tomcat -> 1"), "{}", clean.text);
    as_before(&cluster);
}

#[test]
fn who_may_not_scale_leaves_the_shadow_which_alone_knows_how_many_pods_there_were() {
    let (cluster, laptop) = bed("scalekeep");
    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080", "--skipPortChecking"]);
    kill(&laptop);
    laptop.run(&["rm", "-rf", ".kt"]).ok(); // as on somebody else's laptop
    let (kept, binding) = (shadows(&cluster), "ktctl-exchange-scale");
    cluster.kubectl(&["delete", "rolebinding", "scale"]).unwrap();

    let refused = laptop.ktctl(&["clean", "--thresholdInMinus", "0"]).wait(30);

    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains(&format!("{} stays", kept[0])), "{}", refused.text);
    assert_eq!((shadows(&cluster), replicas(&cluster).0), (kept, 0));
    let role = format!("--role={binding}");
    cluster.kubectl(&["create", "rolebinding", "scale", &role, "--user=developer"]).unwrap();
    let clean = laptop.ktctl(&["clean", "--thresholdInMinus", "0"]).wait(30);
    assert_eq!(clean.code, 0, "{}", clean.text);
    as_before(&cluster);
}
