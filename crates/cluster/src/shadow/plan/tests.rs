//! Manifests as Kubernetes gets them.

use super::super::wanted::{Programs, ShadowPort};
use super::*;

const PROGRAMS: Programs = Programs { x86_64: b"elf", aarch64: b"" };

#[test]
fn an_exchange_shadow_in_a_borrowed_image() {
    let (wanted, place) = (exchange(), borrowed());

    insta::assert_snapshot!(yaml(&pod(&wanted, &place)));
}

#[test]
fn a_connect_shadow_in_an_image_of_the_user() {
    let wanted = ShadowWanted {
        image: Some("mine:1".into()),
        ping: true,
        force_update: true,
        pull_secret: Some("registry".into()),
        service_account: Some("builder".into()),
        quota: Some(Quota::parse("0.5c,512m").0),
        ..ShadowWanted::new(Role::Connect, "kt-connect-shadow-abcde", PROGRAMS)
    };
    let place = Place { image: Image::Given("mine:1".into()), arch: None, ..borrowed() };

    insta::assert_snapshot!(yaml(&pod(&wanted, &place)));
    assert!(config_map(&wanted, &place).unwrap().is_none());
}

#[test]
fn what_the_cluster_refused_is_left_out() {
    let (wanted, mut place) = (exchange(), borrowed());
    place.adjust(&Adjustment::NoSysctls { low_port: true, ping: false });
    place.adjust(&Adjustment::Limits { message: "must specify limits.cpu".into() });
    place.adjust(&Adjustment::NoUser { message: "runAsUser: Invalid value".into() });

    let spec = pod(&wanted, &place).spec.unwrap();

    let security = spec.security_context.unwrap();
    assert_eq!((security.sysctls, security.run_as_user), (None, None));
    let limits = spec.containers[0].resources.clone().unwrap().limits.unwrap();
    assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("50m", "64Mi"));
}

#[test]
fn a_deployment_has_the_sign_of_life_and_its_pods_have_the_rest() {
    let wanted = ShadowWanted { deployment: true, ..exchange() };

    let made = deployment(&wanted, &borrowed());

    let (labels, annotations) = (made.metadata.labels.unwrap(), made.metadata.annotations.unwrap());
    assert_eq!((labels["control-by"].as_str(), labels["kt-role"].as_str()), ("kt", "shadow-exchange"));
    assert_eq!(annotations["kt-last-heart-beat"], "1700000000");
    let spec = made.spec.unwrap();
    let template = spec.template.metadata.unwrap();
    let (labels, annotations) = (template.labels.unwrap(), template.annotations.unwrap());
    assert_eq!(spec.selector.match_labels.as_ref(), Some(&labels));
    assert!(labels.contains_key("kt-target") && !labels.contains_key("control-by"));
    assert!(annotations.contains_key("kt-config") && !annotations.contains_key("kt-last-heart-beat"));
}

#[test]
fn a_connect_shadow_in_a_deployment_can_be_told_from_others() {
    let plain = ShadowWanted::new(Role::Connect, "kt-connect-shadow-abcde", PROGRAMS);
    let wanted = ShadowWanted { deployment: true, ..plain.clone() };
    let target =
        |wanted: &ShadowWanted| pod(wanted, &borrowed()).metadata.labels.unwrap().contains_key("kt-target");

    assert!(target(&wanted) && !target(&plain));
}

#[test]
fn the_program_lies_in_a_config_map_of_the_same_name() {
    let made = config_map(&exchange(), &borrowed()).unwrap().unwrap();

    assert_eq!(made.metadata.name.as_deref(), Some("echo-kt-exchange-abcde"));
    assert_eq!(made.binary_data.unwrap()["shadow"].0, b"elf");
    let labels = made.metadata.labels.unwrap();
    assert_eq!((labels["control-by"].as_str(), labels["kt-role"].as_str()), ("kt", "shadow-exchange"));
    assert_eq!(made.metadata.annotations.unwrap()["kt-last-heart-beat"], "1700000000");
}

#[test]
fn nodes_for_which_nothing_was_built_are_named() {
    let place = Place { arch: Some(Arch::Aarch64), ..borrowed() };

    let error = config_map(&exchange(), &place).unwrap_err();

    let wanted = "this ktctl carries no shadow for arm64 nodes, please name an image with --image";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn labels_of_the_user_have_the_last_word() {
    let labels = BTreeMap::from([("kt-role".to_owned(), "special".to_owned())]);
    let wanted = ShadowWanted { labels, ..exchange() };

    let pod = pod(&wanted, &borrowed());

    assert_eq!(pod.metadata.labels.unwrap()["kt-role"], "special");
    assert_eq!(selected(&wanted, &borrowed())["kt-role"], "special");
}

#[test]
fn older_clients_find_the_program_of_a_router_where_they_look_for_it() {
    let wanted = ShadowWanted {
        program: "router",
        follows: Some(marks::ROUTES),
        ..ShadowWanted::new(Role::Router, "echo-kt-router", PROGRAMS)
    };

    let pod = pod(&wanted, &borrowed());

    let mounts = pod.spec.unwrap().containers[0].volume_mounts.clone().unwrap();
    let places: Vec<_> = mounts.iter().map(|mount| (&*mount.mount_path, mount.sub_path.as_deref())).collect();
    assert_eq!(places, [("/kt", None), ("/usr/sbin/router", Some("router")), ("/kt-followed", None)]);
}

fn exchange() -> ShadowWanted {
    ShadowWanted {
        config: marks::Config::of_service("echo"),
        user: "dev1".into(),
        host: "laptop1".into(),
        expose: "8080:80".into(),
        client_version: "0.4.0".into(),
        args: vec!["--port".into(), "17617".into()],
        ports: vec![ShadowPort { name: "http".into(), number: 80, protocol: "TCP".into() }],
        ..ShadowWanted::new(Role::Exchange, "echo-kt-exchange-abcde", PROGRAMS)
    }
}

fn borrowed() -> Place {
    Place {
        namespace: "dev".into(),
        now: 1_700_000_000,
        mark: "abcdefghijklmnopqrst".into(),
        image: Image::Borrowed {
            image: "registry.corp/echo:1".into(),
            pod: "echo-1".into(),
            node: Some("node1".into()),
            pull_secrets: vec!["registry".into()],
        },
        arch: Some(Arch::X86_64),
        adjustments: Adjustments::default(),
    }
}

fn yaml(pod: &Pod) -> String {
    serde_saphyr::to_string(&serde_json::to_value(pod).unwrap()).unwrap()
}
