//! Bad input and bad surroundings: each is named with its cause and a next step, ends with the
//! right exit code in less than 15 s, and leaves nothing behind. Not here: what the own machine
//! refuses (`connect.rs`: ports, root; `connect_end.rs`: packet filter, VPN).

use e2e::{Cluster, Ended, Kind, Laptop, Running, Snapshot};

/// Within how many seconds a failure must be told.
const TOLD: u64 = 15;
/// How long the cluster may take to let go of pods, in seconds.
const SWEPT: u64 = 15;

#[test]
fn a_context_that_does_not_exist_is_named() {
    let bed = Bed::new("nocontext");

    bed.fails(&["connect", "--context", "elsewhere"], 1, &["'elsewhere'", "get-contexts"]);
}

#[test]
fn a_kubeconfig_that_does_not_exist_is_named() {
    let bed = Bed::new("noconfig");

    bed.fails(&["connect", "-c", "nowhere.conf"], 1, &["nowhere.conf"]);
}

#[test]
fn a_silent_api_server_is_named_with_its_address() {
    let bed = Bed::new("silent");
    let config = bed.config("silent.conf", "s#server:.*#server: https://198.18.0.77:6443#");

    bed.fails(&["connect", "-c", &config], 1, &["198.18.0.77:6443", "kubectl version"]);
}

#[test]
fn an_api_server_that_is_not_there_is_named_with_its_address() {
    let bed = Bed::new("closed");
    let config = bed.config("closed.conf", "s#server:.*#server: https://198.18.0.1:6999#");

    bed.fails(&["connect", "-c", &config], 1, &["198.18.0.1:6999", "kubectl version"]);
}

#[test]
fn a_proxy_that_is_not_there_or_not_known_is_named_without_its_password() {
    let bed = Bed::new("noproxy");
    for (name, address) in [("closed", "198.18.0.250:3129"), ("silent", "198.18.0.77:3128")] {
        let proxy = format!("s#server:.*#&\\n    proxy-url: http://me:secret@{address}#");
        let config = bed.config(&format!("{name}-proxy.conf"), &proxy);

        let text = format!("through the proxy http://{address}");
        bed.fails(&["connect", "-c", &config], 1, &[&text, "check the network, the VPN and the proxy"]);
    }
}

#[test]
fn an_expired_token_is_named_with_the_way_to_a_new_one() {
    let bed = Bed::new("expired");
    let config =
        bed.config("expired.conf", "s#client-certificate\\(-data\\)\\?:.*#token: expired#; /client-key/d");

    bed.fails(&["connect", "-c", &config], 1, &["credentials", "log in again"]);
}

#[test]
fn a_user_without_rights_is_told_the_right_and_the_role() {
    let bed = Bed::new("norights");
    bed.cluster.kubectl(&["delete", "rolebinding", "developer"]).expect("take the rights away");

    bed.fails(
        &["connect"],
        1,
        &["the right to ", bed.cluster.namespace(), "docs/rbac/all-commands-mini.yaml"],
    );
}

#[test]
fn an_image_that_can_not_be_pulled_is_named_with_the_flags() {
    let bed = Bed::new("nopull");

    let args = ["connect", "--image", "127.0.0.1:9/none:1"];
    bed.fails(&args, 1, &["127.0.0.1:9/none:1", "can not be pulled", "--imagePullSecret"]);
}

#[test]
fn an_image_that_holds_no_shadow_is_named() {
    let bed = Bed::new("foreign");

    let said = ["image testbed/echo:local does not contain a matching shadow", "leave --image out"];
    bed.fails(&["connect", "--image", "testbed/echo:local"], 1, &said);
}

#[test]
fn an_image_whose_program_runs_on_and_is_no_shadow_is_named() {
    let bed = Bed::new("silentimage");
    for (kind, script) in [
        ("sleeps", "exec /bin/busybox sleep 1000"),
        ("accepts", "exec /bin/busybox nc -ll -p 17617 -e /bin/busybox sleep 1000"),
        ("greets", "exec /bin/busybox nc -ll -p 17617 -e /bin/busybox echo SSH-2.0-OpenSSH_9.2"),
    ] {
        let image = format!("testbed/{kind}:local");
        e2e::load_image(&image, &["/bin/busybox:/bin/busybox"], &["/bin/busybox", "sh", "-c", script]);

        let said = format!("image {image} does not contain a matching shadow");
        bed.fails(&["connect", "--image", &image], 1, &[&said, "leave --image out"]);
    }
}

#[test]
fn a_namespace_without_a_pod_is_told_to_need_an_image() {
    let bed = Bed::new("nopods");
    bed.cluster.kubectl(&["scale", "deployment/tomcat", "--replicas=0"]).expect("no pods of tomcat");
    bed.cluster.kubectl(&["delete", "pod", "caller", "--now"]).expect("no other pod");
    bed.cluster
        .kubectl(&["wait", "--for=delete", "pod", "-l", "app=tomcat", "--timeout=30s"])
        .expect("they end");

    bed.fails(&["connect"], 1, &["no running pod", bed.cluster.namespace(), "--image"]);
}

#[test]
fn a_used_up_quota_is_told_in_the_clusters_words() {
    let bed = Bed::new("quota");
    bed.cluster.kubectl(&["create", "quota", "full", "--hard=pods=2"]).expect("make a quota");
    let used = "--for=jsonpath={.status.used.pods}=2";
    bed.cluster.kubectl(&["wait", used, "quota/full", "--timeout=30s"]).expect("it counts");

    bed.fails(&["connect"], 1, &["exceeded quota: full"]);
}

#[test]
fn a_port_without_a_program_is_named_with_the_flag_that_allows_it() {
    let bed = Bed::new("nolistener");

    let args = ["exchange", "tomcat", "--expose", "8099:8080"];
    bed.fails(&args, 1, &["no application is running on port 8099", "--skipPortChecking"]);
}

#[test]
fn a_laptop_without_a_tun_device_is_told_of_the_proxy() {
    let bed = Bed::new("notun");
    let hidden = format!("mount -n -t tmpfs none /dev/net && exec {} connect", e2e::ktctl());

    bed.fails_as(
        || bed.laptop.start_sudo(&["unshare", "-m", "bash", "-c", &hidden]),
        1,
        &["/dev/net/tun", "--disableTunDevice"],
    );
}

#[test]
fn a_packet_filter_that_lets_no_connection_into_the_cluster_is_named() {
    let mut bed = Bed::new("filter");
    let rules = "add table inet strict { chain out { type filter hook output priority -250; \
                 ip daddr { 10.244.0.0/16, 10.96.0.0/16 } drop; }; }";
    bed.laptop.root(&["nft", rules]).ok();
    bed.on_laptop = bed.laptop.snapshot();
    let _filter = Filter(&bed.laptop);

    bed.fails(&["connect"], 1, &["does not get through this laptop's own network", "--disableTunDevice"]);
}

#[test]
fn a_namespace_in_which_nothing_is_allowed_is_asked_about_in_a_line() {
    let bed = Bed::new("noright");
    let unreadable = ["nothing of the namespace can be read", "is the name of the namespace right?"];
    for command in [&["connect", "--disableTunDevice"][..], &["exchange", "tomcat", "--expose", "8080"]] {
        let line = [&["-n", "nosuch"], command].concat();
        bed.fails(&line, 1, &["You may do nothing in namespace 'nosuch': is that the name?"]);
    }
    for command in ["clean", "birdseye"] {
        bed.fails(&["-n", "nosuch", command], 1, &unreadable);
    }
}

#[test]
fn what_was_mistyped_is_named_before_anything_is_done() {
    let bed = Bed::new("typed");

    for (args, text) in [
        (&["connect", "--includeIps", "10.0.0.0/33"][..], "10.0.0.0/33"),
        (&["connect", "--excludeIps", "10.0.0.x"], "10.0.0.x"),
        (&["konnect"], "konnect"),
        (&["connect", "--nonsense"], "--nonsense"),
        (&["connect", "--mode", "nonsense"], "nonsense"),
        (&["exchange", "--expose", "8080"], "name of service"),
        (&["exchange", "tomcat"], "--expose"),
        (&["recover"], "service"),
        (&["recover", "deploy/tomcat"], "'deploy/tomcat' is no service"),
    ] {
        let ended = bed.laptop.sudo_ktctl(args).wait(5);
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.text);
        assert!(ended.text.contains(text), "{args:?}: {}", ended.text);
    }
    bed.assert_as_before();
}

#[test]
fn an_exit_without_the_api_server_names_what_stays_and_the_next_run_removes_it() {
    let bed = Bed::new("cutexit");
    let mut connect = bed.laptop.connect(&[]);

    bed.laptop.link(&["--down"]);
    let ended = connect.interrupt(TOLD);
    bed.laptop.link(&["--up"]);

    let pod = bed.cluster.kubectl(&["get", "pods", "-o", "name"]).expect("list pods");
    let pod = pod.lines().find_map(|line| line.strip_prefix("pod/kt-connect-shadow-"));
    let pod = format!("kt-connect-shadow-{}", pod.expect("the shadow has stayed"));
    assert!(ended.text.contains(&pod), "{pod} is not named: {}", ended.text);
    assert!(ended.text.contains("kubectl") || ended.text.contains("ktctl c"), "no command: {}", ended.text);
    let kept = ["kt folders", "files in /tmp and /run"];
    bed.laptop.snapshot().without(&kept).assert_as(&bed.on_laptop.without(&kept));

    assert_eq!(ended.code, 1, "{}", ended.text);

    let mut next = bed.laptop.connect(&[]);
    assert_eq!(next.interrupt(TOLD).code, 0);
    bed.assert_as_before();
}

/// The table `strict` of a laptop, which goes when this is dropped.
struct Filter<'a>(&'a Laptop);

impl Drop for Filter<'_> {
    fn drop(&mut self) {
        self.0.root(&["nft", "delete table inet strict"]);
    }
}

/// A laptop and a namespace, and how both were.
struct Bed {
    laptop: Laptop,
    on_laptop: Snapshot,
    cluster: Cluster,
}

impl Bed {
    fn new(name: &str) -> Self {
        let cluster = Cluster::new(name);
        let laptop = Laptop::lease_kind(&cluster, Kind::Plain).expect("the test bed has a plain laptop");
        let on_laptop = laptop.snapshot();
        Self { laptop, on_laptop, cluster }
    }

    /// A copy of the user's kubeconfig in his home, changed by `sed`; returns its path.
    fn config(&self, name: &str, sed: &str) -> String {
        let path = format!("/home/{}/{name}", self.laptop.user());
        let copy = format!("sed '{sed}' ~/.kube/config > {path}");
        self.laptop.run(&["bash", "-c", &copy]).ok();
        path
    }

    /// `sudo ktctl` with these arguments fails as [`Self::fails_as`] demands.
    fn fails(&self, args: &[&str], code: i32, texts: &[&str]) {
        self.fails_as(|| self.laptop.sudo_ktctl(args), code, texts);
    }

    /// A command ends in time with this code and these words, and laptop and cluster are as they
    /// were before.
    fn fails_as(&self, start: impl FnOnce() -> Running, code: i32, texts: &[&str]) {
        let in_cluster = self.cluster.snapshot();

        let Ended { code: ended, text: said } = start().wait(TOLD);

        assert_eq!(ended, code, "{said}");
        for text in [&["Exit: "], texts].concat() {
            assert!(said.contains(text), "{text:?} is not in: {said}");
        }
        self.laptop.snapshot().assert_as(&self.on_laptop);
        Snapshot::wait_until_as(&in_cluster, SWEPT, || self.cluster.snapshot());
    }

    fn assert_as_before(&self) {
        Snapshot::wait_until_as(&self.on_laptop, SWEPT, || self.laptop.snapshot());
        let shadows = || self.cluster.kubectl(&["get", "pods", "-o", "name"]).expect("list pods");
        e2e::wait_until("no shadow is left", std::time::Duration::from_secs(SWEPT), || {
            (!shadows().contains("kt-connect-shadow")).then_some(())
        });
    }
}
