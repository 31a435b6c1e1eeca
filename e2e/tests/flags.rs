//! Flags that every command takes, and old spellings of them, against the cluster.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, LOCAL, Laptop, Policy, Snapshot};

// covers: 1-3
#[test]
fn help_lists_the_commands() {
    let (_cluster, laptop) = Laptop::with_cluster("help");

    let help = laptop.ktctl(&["-h"]).wait(5).ok();

    for command in ["connect", "exchange", "recover"] {
        assert!(help.contains(command), "{command} is not in: {help}");
    }
}

// covers: 3-4
#[test]
fn the_version_is_one_line() {
    let (_cluster, laptop) = Laptop::with_cluster("version");

    let version = laptop.ktctl(&["-v"]).wait(5).ok();

    assert!(version.starts_with("ktctl version ") && version.trim().lines().count() == 1, "{version}");
}

// covers: 1-7
#[test]
fn the_old_name_of_the_method_connects_and_is_called_old() {
    let (cluster, laptop) = Laptop::with_cluster("method");

    let mut connect = laptop.connect(&["--method=vpn"]);

    connect.wait_for("'--method' is deprecated", 0);
    let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
    assert!(laptop.get(&url).ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
}

// covers: 1-8, 1-9
#[test]
fn the_old_names_of_the_ports_are_accepted() {
    let (cluster, laptop) = Laptop::with_cluster("oldports");

    let _connect = laptop.connect(&["--proxy", "3333", "--port", "2222"]);

    let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
    let page = laptop.run(&["curl", "-sSf", "--max-time", "10", "--socks5", "127.0.0.1:3333", &url]).ok();
    assert!(page.contains(DEMO), "{page}");
}

// covers: 1-4, 7-15
#[test]
fn what_is_asked_of_the_shadow_stands_in_its_pod() {
    let (cluster, laptop) = Laptop::with_cluster("podyaml");
    let flags = "connect --disableTunDevice -l team=blue --withAnnotation note=mine --nodeSelector kubernetes.io/os=linux \
                 --podQuota 0.2c,64m --imagePullSecret hub --serviceAccount default";
    let mut connect = laptop.ktctl(&flags.split_whitespace().collect::<Vec<_>>());
    connect.wait_for("All looks good", 30);

    let pods = cluster.object("pods").expect("pods");
    let pod = pods["items"]
        .as_array()
        .and_then(|pods| pods.iter().find(|pod| pod["metadata"]["labels"]["kt-role"] == "shadow-connect"))
        .expect("the shadow");

    let (meta, spec) = (&pod["metadata"], &pod["spec"]);
    assert_eq!(meta["labels"]["team"], "blue");
    assert_eq!(meta["annotations"]["note"], "mine");
    assert_eq!(spec["nodeSelector"]["kubernetes.io/os"], "linux");
    assert_eq!(spec["serviceAccountName"], "default");
    let secrets = spec["imagePullSecrets"].as_array().expect("pull secrets");
    assert!(secrets.iter().any(|secret| secret["name"] == "hub"), "{secrets:?}");
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    for kind in ["requests", "limits"] {
        assert_eq!(container["resources"][kind]["memory"], "64Mi", "{container}");
        assert_eq!(container["resources"][kind]["cpu"], "200m", "{container}");
    }
}

// covers: 7-15
#[test]
fn a_service_account_and_labels_of_ones_own_go_before_the_built_in_ones() {
    let (cluster, laptop) = Laptop::with_cluster("ownlabels");
    let before = cluster.snapshot();
    cluster.kubectl(&["create", "serviceaccount", "special"]).expect("make an account");
    let _local = laptop.serve(8080, LOCAL);
    let flags = "exchange tomcat --expose 8080 -l kt-role=mine,team=blue --serviceAccount special";

    let mut exchange = laptop.ktctl(&flags.split_whitespace().collect::<Vec<_>>());
    exchange.wait_for("Now all request to", 30);

    let pods = cluster.object("pods").expect("pods");
    let pods = pods["items"].as_array().expect("a list");
    let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["team"] == "blue").expect("the shadow");
    assert_eq!(pod["metadata"]["labels"]["kt-role"], "mine");
    assert_eq!(pod["spec"]["serviceAccountName"], "special");
    let service = cluster.object("service/tomcat").expect("the service");
    assert_eq!(service["spec"]["selector"]["kt-role"], "mine");
    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 10);
    assert_eq!(exchange.interrupt(30).code, 0, "{}", exchange.text());
    cluster.kubectl(&["delete", "serviceaccount", "special"]).expect("remove the account");
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

// A node here can pull nothing: so a policy tells which pods shall be pulled anew.
// covers: 7-15
#[test]
fn an_image_is_pulled_anew_when_the_user_says_so() {
    const MESSAGE: &str = "pulled anew, which this namespace refuses";
    let (cluster, laptop) = Laptop::with_cluster("pullanew");
    let image = "kt-connect-shadow:flags";
    if !e2e::load_program_as("shadow", image) {
        return e2e::skip("pullanew", "there is no program for pods: run `make build`");
    }
    let rule = "object.spec.containers.all(c, c.imagePullPolicy != 'Always')";
    let refused = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [
        {"name": "try", "image": "x", "imagePullPolicy": "Always", "securityContext":
        {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}"#;
    let _policy = Policy::new(&cluster, rule, MESSAGE, &refused.parse().expect("JSON"));

    for flag in ["-f", "--forceUpdate"] {
        let ended = laptop.ktctl(&["connect", "--disableTunDevice", "--image", image, flag]).wait(30);
        assert!(ended.code == 1 && ended.text.contains(MESSAGE), "{flag}: {}", ended.text);
    }
    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice", "--image", image]);
    connect.wait_for("All looks good", 30);
}

#[test]
fn the_time_for_a_port_forward_is_as_asked_for() {
    let (_cluster, laptop) = Laptop::with_cluster("forwardtime");
    let (image, script) = ("testbed/sleeps:flags", "exec /bin/busybox sleep 1000");
    e2e::load_image(image, &["/bin/busybox:/bin/busybox"], &["/bin/busybox", "sh", "-c", script]);

    for (seconds, least, most) in [("2", 2, 6), ("12", 12, 17)] {
        let flags = ["connect", "--disableTunDevice", "--image", image, "--portForwardTimeout", seconds];
        let mut connect = laptop.ktctl(&flags);
        connect.wait_for(" is ready", 30);
        let since = Instant::now();

        assert_eq!(connect.wait(20).code, 1);

        let took = since.elapsed().as_secs_f32().round() as u32;
        assert!((least..=most).contains(&took), "--portForwardTimeout {seconds}: {took} s");
    }
}

// covers: 1-4
#[test]
fn a_debug_log_is_written_beside_what_is_shown_and_its_user_can_read_it() {
    let (_cluster, laptop) = Laptop::with_cluster("debug");

    let mut connect = laptop.connect(&["--debug"]);
    assert_eq!(connect.interrupt(15).code, 0);

    let shown = connect.text();
    let path = shown.lines().find_map(|line| line.split_once("the debug log is ")).expect("its path").1;
    let written = laptop.run(&["cat", path]).ok();
    for line in shown.lines().filter(|line| line.contains("All looks good") || line.contains(" start at ")) {
        assert!(written.contains(line), "{line:?} is not in: {written}");
    }
    assert!(written.contains(" DBG "), "{written}");
    laptop.root(&["rm", path]).ok();
}

// The office gives its answers a life of 30 s.
// covers: 7-11
#[test]
fn answers_of_the_dns_are_remembered_for_the_time_asked_for() {
    let (_cluster, laptop) = Laptop::with_cluster("dnsttl");
    let left = || {
        lifetime(&laptop);
        std::thread::sleep(Duration::from_millis(2500));
        lifetime(&laptop)
    };

    let mut connect = laptop.connect(&[]);
    assert!(left() <= 28, "it was remembered");
    assert_eq!(connect.interrupt(15).code, 0);
    let _connect = laptop.connect(&["--dnsCacheTtl", "1"]);

    assert_eq!(left(), 30, "it was asked for again");
}

// covers: 3-5
#[test]
fn the_line_of_an_article_with_a_private_registry_uses_that_image_in_that_namespace() {
    const IMAGE: &str = "10.3.87.5:8080/kt-connect-shadow:latest";
    let (cluster, laptop) = Laptop::with_cluster("registry");
    if !e2e::load_program_as("shadow", IMAGE) {
        return e2e::skip("registry", "there is no program for pods: run `make build`");
    }
    let namespace = format!("--namespace={}", cluster.namespace());
    let image = format!("--image={IMAGE}");

    let mut connect = laptop.sudo_ktctl(&["--debug", &image, &namespace, "connect"]);
    connect.wait_for("All looks good", 30);

    let images =
        ["get", "pods", "-l", "kt-role=shadow-connect", "-o", "jsonpath={..spec.containers[*].image}"];
    assert_eq!(cluster.kubectl(&images).expect("images"), IMAGE);
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
}

// covers: 4-5
#[test]
fn the_old_method_socks_gives_a_proxy_and_says_how_to_use_it() {
    let (cluster, laptop) = Laptop::with_cluster("socks");

    let mut connect = laptop.ktctl(&["connect", "--method", "socks"]);

    connect.wait_for(">> Please setup proxy config by: export http_proxy=socks5://127.0.0.1:2223 <<", 30);
    connect.wait_for("'--method' is deprecated", 0);
    let url = format!("http://{}:8080", cluster.pod_ip("tomcat"));
    let page = ["curl", "-sSf", "-m", "10", "--proxy", "socks4://127.0.0.1:2223", &url];
    assert!(laptop.run(&page).ok().contains(DEMO));
    assert!(laptop.get(&url).code != 0, "without the proxy nothing is reached");
}

// covers: 7-10
#[test]
fn the_device_its_routes_and_the_proxy_are_as_asked_for() {
    let (cluster, laptop) = Laptop::with_cluster("pieces");
    let pod = cluster.pod_ip("tomcat");
    let routes = || laptop.run(&["ip", "route"]).ok();
    let before = routes();

    let mut connect = laptop.connect(&["--disableTunRoute", "--proxyPort", "4444"]);
    assert!(laptop.run(&["ip", "-o", "link", "show", "type", "tun"]).ok().contains("kt"), "a device");
    let via = laptop.run(&["ip", "route", "get", &pod]).ok();
    assert!(!via.contains("kt"), "no route leads into it: {via}");
    let url = format!("http://{pod}:8080");
    let page = ["curl", "-sSf", "-m", "10", "--socks5", "127.0.0.1:4444", &url];
    assert!(laptop.run(&page).ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
    assert_eq!(routes(), before);

    let refused = laptop.sudo_ktctl(&["connect", "--proxyAddr", "0.0.0.0"]).wait(10);
    assert_eq!(refused.code, 2, "{}", refused.text);
    assert!(refused.text.contains("parameter --proxyAddr is valid only when --disableTunDevice is used"));

    let everywhere = ["connect", "--disableTunDevice", "--proxyAddr", "0.0.0.0", "--proxyPort", "4445"];
    let mut connect = laptop.ktctl(&everywhere);
    connect.wait_for("All looks good", 30);
    let sockets = laptop.run(&["ss", "-Htln", "sport", "=", ":4445"]).ok();
    assert!(sockets.contains("0.0.0.0:4445"), "{sockets}");
}

// covers: 7-16
#[test]
fn contexts_come_from_all_files_of_the_variable_and_a_wrong_one_is_named() {
    let (cluster, laptop) = Laptop::with_cluster("contexts");
    let ktctl = e2e::ktctl();
    // The context's namespace lies in another file than its cluster.
    let other = format!(
        "sed 's/current-context: .*/current-context: none/' ~/.kube/config >/tmp/base && kubectl --kubeconfig /tmp/more \
         config set-context second --cluster \"$(kubectl config view -o jsonpath='{{.contexts[0].context.cluster}}')\" \
         --user \"$(kubectl config view -o jsonpath='{{.contexts[0].context.user}}')\" --namespace {} && \
         KUBECONFIG=/tmp/base:/tmp/more exec {ktctl} connect --disableTunDevice --context",
        cluster.namespace()
    );

    let mut connect = laptop.start(&["bash", "-c", &format!("{other} second")]);
    connect.wait_for("Using cluster context second", 10);
    connect.wait_for("All looks good", 30);
    assert_eq!(connect.interrupt(15).code, 0);

    let wrong = laptop.run(&["bash", "-c", &format!("{other} third")]);
    assert_eq!(wrong.code, 1, "{}", wrong.text);
    assert!(wrong.text.contains("third"), "{}", wrong.text);
}

// covers: 2-2
#[test]
fn the_misprint_of_an_article_exchanges_and_restores() {
    let (cluster, laptop) = Laptop::with_cluster("misprint");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let mut exchange = laptop.ktctl(&["exhcnage", "tomcat", "--expose", "8080"]);

    exchange.wait_for("'exhcnage' is deprecated, use 'exchange'", 10);
    exchange.wait_for("Now all request to service 'tomcat' will be redirected to local", 30);
    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
    assert_eq!(exchange.interrupt(30).code, 0);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

// covers: 3-2
#[test]
fn nothing_of_kubectl_is_needed_on_the_path() {
    let (cluster, laptop) = Laptop::with_cluster("nokubectl");
    let _local = laptop.serve(8080, LOCAL);
    let nowhere = ["env", "PATH=/nonexistent"];

    let mut connect =
        laptop.start(&[&nowhere[..], &[&e2e::ktctl(), "connect", "--disableTunDevice"]].concat());
    connect.wait_for("start at", 10);
    connect.wait_for("Socks proxy established", 30);
    let mut exchange =
        laptop.start(&[&nowhere[..], &[&e2e::ktctl(), "exchange", "tomcat", "--expose", "8080"]].concat());
    exchange.wait_for("Now all request to", 30);

    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
    assert_eq!(exchange.interrupt(30).code, 0);
    assert_eq!(connect.interrupt(15).code, 0);
}

// covers: 7-17
#[test]
fn a_laptop_whose_clock_is_an_hour_off_beats_in_the_clusters_time_unless_told_not_to() {
    let (cluster, laptop) = Laptop::with_cluster("clock");
    let _local = laptop.serve(8080, LOCAL);
    for (clock, flag) in [("+1h", None), ("-1h", None), ("-1h", Some("--useLocalTime"))] {
        // The dynamic linker puts the machine's folder of libraries for $LIB.
        let library = "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1";
        let late = ["env", library, &format!("FAKETIME={clock}"), "FAKETIME_DONT_FAKE_MONOTONIC=1"];
        let ktctl = e2e::ktctl();
        let command = [ktctl.as_str(), "exchange", "tomcat", "--expose", "8080"];
        let mut exchange = laptop.start(&[&late[..], &command, flag.as_slice()].concat());
        exchange.wait_for("Now all request to", 30);

        let age = age(&cluster);

        match flag {
            None => assert!(age.abs() <= 5, "{clock}: the heartbeat is {age} s old"),
            Some(_) => assert!((3595..3660).contains(&age), "{clock}: the heartbeat is {age} s old"),
        }
        let dry = laptop.ktctl(&["clean", "--dryRun", "--thresholdInMinus", "1"]).wait(30).ok();
        let is_dead = dry.contains("kt-exchange");
        assert_eq!(is_dead, flag.is_some(), "{clock}: {dry}");
        assert_eq!(exchange.interrupt(30).code, 0);
    }
}

/// The seconds that an answer of the laptop's first name server may be remembered.
fn lifetime(laptop: &Laptop) -> u32 {
    let script = r#"
        open(my $file, "<", "/etc/resolv.conf"); my ($server) = map { /^nameserver (\S+)/ } <$file>;
        my $socket = IO::Socket::INET->new(Proto => "udp", PeerAddr => $server, PeerPort => 53) or die $!;
        my $question = pack("(C/a)*", "www", "example", "com", "") . pack("n2", 1, 1);
        $socket->send(pack("n6", 7, 0x100, 1, 0, 0, 0) . $question);
        local $SIG{ALRM} = sub { die "no answer" }; alarm 5;
        $socket->recv(my $answer, 2000);
        my ($owner, $kind, $class, $life) = unpack("n3 N", substr($answer, 12 + length $question));
        print $life;
    "#;
    laptop.run(&["perl", "-MIO::Socket::INET", "-e", script]).ok().trim().parse().expect("a number")
}

/// Seconds from the heartbeat that the only shadow was made with to the moment when, by the cluster's
/// clock, it was made.
fn age(cluster: &Cluster) -> i64 {
    let metadata = ".items[0].metadata";
    let path =
        format!("jsonpath={{{metadata}.annotations.kt-last-heart-beat}} {{{metadata}.creationTimestamp}}");
    let both = cluster.kubectl(&["get", "pods", "-l", "control-by=kt", "-o", &path]).expect("a shadow");
    let (beat, made) = both.trim().split_once(' ').expect("two times");
    let made = Command::new("date").args(["-d", made, "+%s"]).output().expect("run date").stdout;
    let seconds = |text: &str| text.trim().parse::<i64>().expect("a number");
    seconds(&String::from_utf8_lossy(&made)) - seconds(beat)
}
