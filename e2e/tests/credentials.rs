//! Who the user is for the API server: log-in programs under `sudo`, and tokens that end during a run.

use std::time::Duration;

use e2e::{Cluster, DEMO, Ended, LOCAL, Laptop, Process, Running, Snapshot};

/// A log-in program: notes who runs it and how, and prints what the API server wants to see.
const LOGIN: &str = r#"#!/bin/sh
printf '%s\n' "uid=$(id -u)" "HOME=$HOME" "PATH=$PATH" >~/said
cat ~/credential
"#;
const CREDENTIAL: &str =
    r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": STATUS}"#;
/// A service account with the developer's rights.
const ACCOUNT: &str = "worker";
/// The API server may go on trusting a token for so long, in seconds.
const TRUSTED: u64 = 30;

#[test]
fn a_log_in_program_of_the_user_runs_as_the_user_under_sudo() {
    let (cluster, laptop) = bed("login");
    let home = Home::new(&laptop);
    home.with_log_in_program();
    let user = laptop.run(&["id", "-u"]).ok();
    let token = format!(r#"{{"token": "{}"}}"#, token(&cluster));

    for status in [token, home.certificate()] {
        home.write("credential", &CREDENTIAL.replace("STATUS", &status));
        let mut connect = laptop.connect(&["-c", &home.path("login.conf")]);

        let said = home.read("said");
        let (folder, path) = (home.path(""), home.path("bin"));
        assert!(said.contains(&format!("uid={}\n", user.trim())), "{said}");
        assert!(said.contains(&format!("HOME={}\n", folder.trim_end_matches('/'))), "{said}");
        assert!(said.contains(&format!("PATH={path}:")), "{said}");
        assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
        assert_eq!(connect.interrupt(15).code, 0);
    }
}

#[test]
fn after_a_kill_a_log_in_program_of_the_user_is_found_to_clean_up_in_the_cluster() {
    let (cluster, laptop) = bed("killlogin");
    let home = Home::new(&laptop);
    home.with_log_in_program();
    let before = cluster.snapshot();
    home.write(
        "credential",
        &CREDENTIAL.replace("STATUS", &format!(r#"{{"token": "{}"}}"#, token(&cluster))),
    );
    let _connect = laptop.connect(&["-c", &home.path("login.conf")]);
    laptop.run(&["rm", &home.path("said")]).ok();

    let mine = |process: &Process| process.user == laptop.user() && process.args.contains(" connect");
    laptop.kill9(&laptop.processes("ktctl").into_iter().find(mine).expect("connect runs as the user"));

    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
    let said = home.read("said");
    assert!(said.contains(&format!("PATH={}:", home.path("bin"))), "{said}");
}

#[test]
fn a_log_in_program_that_fails_is_named_with_the_advice() {
    let (_cluster, laptop) = bed("nologin");
    let home = Home::new(&laptop);
    home.with_log_in_program();
    laptop.run(&["rm", &home.path("bin/kt-login")]).ok();

    let ended = laptop.sudo_ktctl(&["-c", &home.path("login.conf"), "connect"]).wait(15);

    assert_eq!(ended.code, 1, "{}", ended.text);
    for said in ["log-in program kt-login", "run the log-in program of your kubeconfig by hand"] {
        assert!(ended.text.contains(said), "{said:?} is not in: {}", ended.text);
    }
}

#[test]
fn an_exchange_whose_token_ends_goes_on_with_a_fresh_one_and_puts_the_service_back() {
    let (cluster, laptop) = bed("freshtoken");
    let home = Home::new(&laptop);
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange_by_token(&cluster, &laptop, &home);

    revoke(&cluster, &home);
    laptop.cut_carrier();
    let said = exchange.wait_for("does not accept the credentials any more", 20);
    assert!(said.contains("log in again"), "{said}");
    home.write_token(&token(&cluster));

    exchange.wait_for("connection restored", 30);
    exchange.wait_for("accepts the credentials again", 0);
    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 10);
    assert_eq!(exchange.interrupt(30).code, 0, "{}", exchange.text());
    assert!(cluster.get("http://tomcat:8080").expect("an answer").contains(DEMO));
}

#[test]
fn an_exchange_that_ends_right_after_a_new_log_in_puts_the_service_back() {
    let (cluster, laptop) = bed("lasttoken");
    let home = Home::new(&laptop);
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange_by_token(&cluster, &laptop, &home);

    revoke(&cluster, &home);
    home.write_token(&token(&cluster));

    assert_eq!(exchange.interrupt(30).code, 0, "{}", exchange.text());
    assert!(cluster.get("http://tomcat:8080").expect("an answer").contains(DEMO));
}

#[test]
fn without_a_fresh_token_the_end_names_what_stays_and_the_next_start_puts_the_service_back() {
    let (cluster, laptop) = bed("notoken");
    let before = cluster.snapshot();
    let home = Home::new(&laptop);
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange_by_token(&cluster, &laptop, &home);

    revoke(&cluster, &home);
    let Ended { code, text } = exchange.interrupt(30);

    assert_eq!(code, 1, "{text}");
    let command = format!("ktctl -n {} recover tomcat", cluster.namespace());
    for said in ["does not accept the credentials", "log in again", &command] {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
    home.write_token(&token(&cluster));
    let mut next = laptop.ktctl(&["-c", &home.path("token.conf"), "connect", "--disableTunDevice"]);
    next.wait_for("Cleaned up after exchange", 20);
    cluster.wait_for_answer("http://tomcat:8080", DEMO, 10);
    assert_eq!(next.interrupt(15).code, 0);
    e2e::Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

fn bed(name: &str) -> (Cluster, Laptop) {
    let (cluster, laptop) = Laptop::with_cluster(name);
    make_account(&cluster);
    let path = "jsonpath={.items[0].metadata.name}";
    let role = cluster.kubectl(&["get", "roles", "-o", path]).expect("the developer's role");
    let account = format!("--serviceaccount={}:{ACCOUNT}", cluster.namespace());
    cluster
        .kubectl(&["create", "rolebinding", ACCOUNT, &format!("--role={role}"), &account])
        .expect("bind the role");
    (cluster, laptop)
}

fn make_account(cluster: &Cluster) {
    cluster.kubectl(&["create", "serviceaccount", ACCOUNT]).expect("make the account");
}

fn token(cluster: &Cluster) -> String {
    cluster.kubectl(&["create", "token", ACCOUNT, "--duration=10m"]).expect("a token").trim().to_owned()
}

/// Exchanges the sample service by a kubeconfig with a token of the account in it.
fn exchange_by_token(cluster: &Cluster, laptop: &Laptop, home: &Home<'_>) -> Running {
    home.write_token(&token(cluster));
    let mut exchange =
        laptop.ktctl(&["-c", &home.path("token.conf"), "exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("Now all request to", 30);
    exchange
}

/// Makes all tokens of the account worthless, and waits until the API server says so.
fn revoke(cluster: &Cluster, home: &Home<'_>) {
    cluster.kubectl(&["delete", "serviceaccount", ACCOUNT]).expect("remove the account");
    make_account(cluster);
    e2e::wait_until("the token is refused", Duration::from_secs(TRUSTED), || {
        let conf = home.path("token.conf");
        let asked = home.laptop.run(&["kubectl", "--kubeconfig", &conf, "get", "pods"]);
        (asked.code != 0 && asked.text.contains("Unauthorized")).then_some(())
    });
}

/// The user's home; what a test has put there goes with this.
struct Home<'a> {
    laptop: &'a Laptop,
    folder: String,
}

impl<'a> Home<'a> {
    fn new(laptop: &'a Laptop) -> Self {
        let home = Self { laptop, folder: format!("/home/{}", laptop.user()) };
        home.copy_config("token.conf");
        home
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    fn write(&self, file: &str, text: &str) {
        let script = r#"umask 77 && printf '%s' "$2" >"$1""#;
        self.laptop.run(&["sh", "-c", script, "sh", &self.path(file), text]).ok();
    }

    fn read(&self, file: &str) -> String {
        self.laptop.run(&["cat", &self.path(file)]).ok() + "\n"
    }

    /// The user's kubeconfig without any credentials.
    fn copy_config(&self, file: &str) {
        let path = self.path(file);
        let script = r#"cp ~/.kube/config "$1" && kubectl --kubeconfig "$1" config delete-user developer"#;
        self.laptop.run(&["sh", "-c", script, "sh", &path]).ok();
    }

    fn set_user(&self, file: &str, credentials: &[&str]) {
        let path = self.path(file);
        let set = ["kubectl", "--kubeconfig", &path, "config", "set-credentials", "developer"];
        self.laptop.run(&[&set[..], credentials].concat()).ok();
    }

    fn write_token(&self, token: &str) {
        self.set_user("token.conf", &[&format!("--token={token}")]);
    }

    /// A program in a folder that only a log-in shell looks into.
    fn with_log_in_program(&self) {
        self.laptop.run(&["mkdir", "-p", &self.path("bin")]).ok();
        self.write("bin/kt-login", LOGIN);
        self.laptop.run(&["chmod", "+x", &self.path("bin/kt-login")]).ok();
        self.write(".profile", "PATH=$HOME/bin:$PATH\n");
        self.copy_config("login.conf");
        let version = "--exec-api-version=client.authentication.k8s.io/v1";
        self.set_user("login.conf", &["--exec-command=kt-login", version]);
    }

    /// The user's certificate in the words of a log-in program.
    fn certificate(&self) -> String {
        let script = r#"use MIME::Base64; use JSON::PP;
            my $user = decode_json(scalar `kubectl config view --raw -o json`)->{users}[0]{user};
            print encode_json({ clientCertificateData => decode_base64($user->{"client-certificate-data"}),
                clientKeyData => decode_base64($user->{"client-key-data"}) });"#;
        self.laptop.run(&["perl", "-e", script]).ok()
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        let files = ["bin", ".profile", "credential", "said", "login.conf", "token.conf"];
        let paths: Vec<String> = files.iter().map(|file| self.path(file)).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.laptop.run(&[&["rm", "-rf"], &paths[..]].concat());
    }
}
