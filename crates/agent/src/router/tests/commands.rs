use tokio::task::{LocalSet, spawn_local};

use super::bed::*;
use crate::names::Resolver;
use crate::router::{Router, command};

/// What an older client sees of a command.
async fn execute(port: u16, words: &[&str]) -> String {
    let command = words.join("\n");
    tokio::task::spawn_blocking(move || command::ask(&command, port)).await.expect("task").expect("answer")
}

#[tokio::test]
async fn older_clients_set_up_join_and_leave() {
    with_bed(async |bed| {
        let port = bed.service;
        spawn_local(command::serve(command::listen(port).expect("socket"), bed.router.clone()));

        assert_eq!(execute(port, &["add", "version:a"]).await, "the router was not set up yet");
        assert_eq!(execute(port, &["setup", "tomcat", "80:18080,81:18081", "version:a"]).await, "");
        assert_eq!(execute(port, &["add", "kt-mark:b"]).await, "");
        assert_eq!(names(&bed), ["tomcat-kt-mesh-a", "tomcat-kt-mesh-b"]);
        assert_eq!(execute(port, &["remove", "version:a"]).await, "");
        assert_eq!(names(&bed), ["tomcat-kt-mesh-b"]);

        let table = bed.router.table();
        assert_eq!(table.set().expect("set").original, "tomcat-kt-stuntman");
        let ports: Vec<_> = table.ports().map(|port| (port.service, port.listen)).collect();
        assert_eq!(ports, [(80, 18080), (81, 18081)]);
    })
    .await;
}

#[tokio::test]
async fn a_route_of_an_older_client_stays_when_laptops_change_the_set() {
    with_bed(async |bed| {
        let port = bed.service;
        spawn_local(command::serve(command::listen(port).expect("socket"), bed.router.clone()));
        bed.use_routes(1, &[(ANN, "path:/")]).await;

        assert_eq!(execute(port, &["add", "version:a"]).await, "");
        bed.use_routes(2, &[]).await;

        assert_eq!(names(&bed), ["tomcat-kt-mesh-a"]);
    })
    .await;
}

#[tokio::test]
async fn what_older_clients_told_is_known_to_a_router_that_starts_anew() {
    let file = std::env::temp_dir().join(format!("kt-router-kept-{}", std::process::id()));
    let anew = || Router::new(Resolver::from_system(), Some(file.clone()));
    LocalSet::new()
        .run_until(async {
            let port = unused_port().await;
            spawn_local(command::serve(command::listen(port).expect("socket"), anew()));
            for words in [&["setup", "tomcat", "80:18080", "version:a"][..], &["add", "version:b"]] {
                assert_eq!(execute(port, words).await, "");
            }
            assert_eq!(execute(port, &["add", "version:c"]).await, "");
            assert_eq!(execute(port, &["remove", "version:b"]).await, "");
        })
        .await;

    let table = anew().table();
    assert_eq!(table.route_names(), ["tomcat-kt-mesh-a", "tomcat-kt-mesh-c"]);
    assert_eq!(table.ports().map(|port| port.listen).collect::<Vec<_>>(), [18080]);
    std::fs::write(&file, "{").expect("file");
    assert!(anew().table().route_names().is_empty(), "what can not be read is nothing");
    std::fs::remove_file(&file).expect("file");
}

#[tokio::test]
async fn what_is_wrong_with_a_command_is_told() {
    with_bed(async |bed| {
        let port = bed.service;
        spawn_local(command::serve(command::listen(port).expect("socket"), bed.router.clone()));

        let told = execute(port, &["setup", "tomcat", "80", "version:a"]).await;
        assert_eq!(told, "\"80\" is no pair of ports PORT:TARGET");
        let told = execute(port, &["setup", "tomcat", "80:80", "version"]).await;
        assert_eq!(told, "\"version\" is no version mark KEY:VALUE");
        assert!(execute(port, &["setup", "tomcat"]).await.starts_with("usage: setup"));
    })
    .await;
}

fn names(bed: &Bed) -> Vec<String> {
    bed.router.table().route_names()
}
