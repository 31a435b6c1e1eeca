//! What users type, as they have typed it since 0.0.5.

use super::*;

fn typed(line: &str) -> Typed {
    parse(line.split_whitespace().map(OsString::from)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> clap::Error {
    match parse(line.split_whitespace().map(OsString::from)) {
        Ok(_) => panic!("{line} is accepted"),
        Err(error) => error,
    }
}

fn connect(line: &str) -> (Global, Connect, Vec<String>) {
    let typed = typed(line);
    let Some(Command::Connect(connect)) = typed.cli.command else { panic!("{line}: {:?}", typed.cli) };
    (typed.cli.global, connect, typed.deprecated.iter().map(ToString::to_string).collect())
}

// covers: 7-39
#[test]
fn flags_stand_before_and_after_the_command() {
    let (before, ..) = connect("ktctl -n x -d connect");
    let (after, ..) = connect("ktctl connect --namespace=x --debug");

    assert_eq!((before.namespace.as_deref(), before.debug), (Some("x"), true));
    assert_eq!((after.namespace.as_deref(), after.debug), (Some("x"), true));
}

#[test]
fn short_flags_are_bundled_and_switches_take_values() {
    let (global, connect, _) = connect("ktctl -dn demo connect --disablePodIp=false --skip-cleanup");

    assert_eq!((global.namespace.as_deref(), global.debug), (Some("demo"), true));
    assert!(!connect.disable_pod_ip);
    assert!(connect.skip_cleanup);
}

// covers: 1-4
#[test]
fn one_dash_with_a_long_name_and_two_with_a_short_one_are_understood() {
    let (global, ..) = connect("ktctl -namespace default -debug --c some/path connect");
    let (other, ..) = connect("ktctl --n mesh-demo -image=registry:5000/shadow:v1 -l a=b connect");

    assert_eq!((global.namespace.as_deref(), global.debug), (Some("default"), true));
    assert_eq!(global.kubeconfig, Some("some/path".into()));
    assert_eq!(other.namespace.as_deref(), Some("mesh-demo"));
    assert_eq!(other.image.as_deref(), Some("registry:5000/shadow:v1"));
    assert_eq!(other.with_label, Some(Pairs(vec![("a".into(), "b".into())])));
}

#[test]
fn old_names_of_flags_are_translated_and_named() {
    let (_, asked, said) =
        connect("ktctl connect --method=vpn --proxy 3333 --port 2222 --cidr 172.2.0.0/16 --disableDNS");

    assert_eq!((asked.mode.as_str(), asked.proxy_port, asked.dns_mode.as_str()), ("tun2socks", 3333, "none"));
    assert_eq!(asked.include_ips, ["172.2.0.0/16".parse().expect("range")]);
    assert_eq!(said[0], "'--method' is deprecated, use '--mode'");
    assert!(said.contains(&"'--mode vpn' is deprecated, use '--mode tun2socks'".to_owned()), "{said:?}");
}

#[test]
fn the_old_socks_methods_are_the_proxy_alone() {
    for line in ["ktctl connect --method socks5", "ktctl -d connect --method=socks"] {
        let (_, asked, _) = connect(line);
        assert!(asked.disable_tun_device, "{line}");
        assert_eq!(asked.dns_mode, "hosts", "{line}");
    }
}

#[test]
fn a_bare_ip_is_a_range_of_one() {
    let (_, asked, _) = connect("ktctl connect --excludeIps 10.0.8.101,10.0.9.0/24 --includeIps 10.1.2.3/16");

    assert_eq!(asked.exclude_ips, ["10.0.8.101/32", "10.0.9.0/24"].map(|text| text.parse().expect("range")));
    assert_eq!(asked.include_ips, ["10.1.0.0/16".parse().expect("range")]);
}

// covers: 2-2
#[test]
fn the_misprint_of_an_old_article_is_exchange() {
    let typed = typed("ktctl exhcnage tomcat --expose 8080");

    assert!(matches!(typed.cli.command, Some(Command::Exchange(_))));
    assert_eq!(typed.deprecated.len(), 1);
}

#[test]
fn provide_is_the_old_name_of_preview() {
    let typed = typed("ktctl -n dev provide mine --expose 8080:80 --external");

    let Some(Command::Preview(preview)) = typed.cli.command else { panic!("{:?}", typed.cli) };
    assert_eq!((preview.services, preview.external), (vec!["mine".to_owned()], true));
    let said: Vec<String> = typed.deprecated.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["'provide' is deprecated, use 'preview'"]);
}

#[test]
fn an_output_format_is_no_command() {
    let typed = typed("ktctl birdseye -o json --sort-by name");

    let Some(Command::Birdseye(birdseye)) = typed.cli.command else { panic!("{:?}", typed.cli) };
    assert_eq!((birdseye.output, birdseye.sort_by.as_str()), (Output::Json, "name"));
}

#[test]
fn what_is_not_known_is_a_usage_error() {
    for line in [
        "ktctl connect --nonsense",
        "ktctl nonsense",
        "ktctl connect --excludeIps 10.0.0.0/33",
        "ktctl exchange a --expose x",
    ] {
        assert_eq!(refused(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for line in [
        "ktctl -h",
        "ktctl --help",
        "ktctl connect --help",
        "ktctl -v",
        "ktctl --version",
        "ktctl help connect",
    ] {
        assert_eq!(refused(line).exit_code(), 0, "{line}");
    }
    assert_eq!(refused("ktctl -v").to_string(), format!("ktctl version {VERSION}\n"));
}

#[test]
fn run_keeps_the_meaning_of_its_old_flags() {
    for line in
        ["ktctl run localservice --port 8088 --expose", "ktctl -n dev run --expose localservice -port=8088"]
    {
        let typed = typed(line);

        let Some(Command::Run(run)) = typed.cli.command else { panic!("{line}: {:?}", typed.cli) };
        assert_eq!((run.services, run.port, run.expose), (vec!["localservice".to_owned()], Some(8088), true));
        let said: Vec<String> = typed.deprecated.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["'run' is deprecated, use 'preview'"]);
    }
    let Some(Command::Exchange(exchange)) = typed("ktctl exchange run --expose 8080").cli.command else {
        panic!("a service may be called run");
    };
    assert_eq!(exchange.targets, ["run"]);
}

#[test]
fn flags_that_have_no_use_any_more_are_taken_and_surplus_words_are_named() {
    let (_, asked, said) =
        connect("ktctl connect --ipVersion 6 --dnsPort 10053 --includeDomains com,corp.example");
    let (_, surplus, _) = connect("ktctl connect one two");

    assert_eq!((asked.include_domains, said), (vec!["com".into(), "corp.example".into()], Vec::new()));
    let error = crate::connect::check(&surplus).expect_err("surplus words").to_string();
    assert_eq!(error, "too many options specified (one,two)");
    assert_eq!(refused("ktctl connect --ipVersion 5").exit_code(), 2);
}

#[test]
fn the_old_ways_to_the_hosts_file_are_a_mode_of_names() {
    for (line, wanted) in [
        ("ktctl -d connect --method socks5 --dump2hosts", "hosts"),
        ("ktctl connect --method socks5 --dump2hosts=default,dev", "hosts:default,dev"),
        ("ktctl connect --dump2hosts default,dev --debug", "hosts:default,dev"),
        ("ktctl connect --dump2hosts --dump2hostsNS a --dump2hostsNS b", "hosts:a,b"),
        ("ktctl connect --method socks5 --disableDNS", "none"),
    ] {
        assert_eq!(connect(line).1.dns_mode, wanted, "{line}");
    }
}
