//! Where things are: the checkout, the program under test, and the running test bed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program under test: `$KTCTL`, else what `make build` has built.
///
/// # Panics
/// When it is not there.
pub fn ktctl() -> String {
    let path = match std::env::var_os("KTCTL") {
        Some(path) => PathBuf::from(path),
        None => checkout().join("target/release/ktctl"),
    };
    assert!(path.exists(), "there is no {}: run `make build`", path.display());
    path.display().to_string()
}

/// Tells whether `make test-long` asks for the full numbers.
pub fn long() -> bool {
    std::env::var_os("KT_LONG").is_some()
}

/// Says why a test cannot run here; `make test` counts it as skipped, and not as one that shows
/// anything. The test then returns. `test` is its name where its thread does not tell it.
pub fn skip(test: &str, missing: &str) {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or(test);
    eprintln!("skipped {test}: {missing}");
    let Some(list) = std::env::var_os("KT_SKIPPED") else {
        return;
    };
    let mut list =
        OpenOptions::new().append(true).create(true).open(list).expect("open the list of skipped tests");
    writeln!(list, "{test}: {missing}").expect("add to the list of skipped tests");
}

/// The DNS domain of the running cluster.
///
/// # Panics
/// When no cluster is up.
pub fn domain() -> String {
    shape()["Domain"].as_str().expect("the test bed tells its domain").to_owned()
}

/// Puts one of the programs for pods onto every node as an image of this name; `false` when it was
/// not built.
///
/// # Panics
/// When the test bed does not take it.
pub fn load_program_as(program: &str, image: &str) -> bool {
    let built = checkout().join("target/agent/x86_64").join(program);
    if !built.exists() {
        return false;
    }
    let entry = if program == "router" { "/usr/sbin/router" } else { "/shadow" };
    load_image(image, &format!("{}:{entry}", built.display()), &[entry]);
    true
}

/// Puts a program of this machine onto every node as an image of this name. The file is `HERE:THERE`,
/// and the arguments of a container follow those of the entry.
///
/// # Panics
/// When the test bed does not take it.
pub fn load_image(image: &str, file: &str, entry: &[&str]) {
    load_files(image, &[file.to_owned()], entry);
}

/// The same with several files.
///
/// # Panics
/// When the test bed does not take it.
pub fn load_files(image: &str, files: &[String], entry: &[&str]) {
    let name = image.replace(['/', ':'], "-");
    let archive = checkout().join(format!("target/{name}-{}.tar", std::process::id()));
    let path = archive.display().to_string();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let build = [&["build-image", "--user", "65532", image, &path], &files[..], &["--"], entry].concat();
    for args in [&build[..], &["load-image", &path]] {
        assert!(testbed(args).status().expect("run the test bed").success(), "{args:?}");
    }
    let _ = std::fs::remove_file(archive); // a later build removes it as well
}

/// The root of the work tree.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout is above this crate")
}

/// The driver of the test bed, in the checkout's folder, which laptops can see. Root needs none of
/// what the script does before it calls the driver.
pub(crate) fn testbed(args: &[&str]) -> Command {
    let script = checkout().join("testbed/testbed");
    let mut command = Command::new(if is_root() { program("kt-testbed").into() } else { script });
    command.args(args).current_dir(checkout());
    command.env("KT_TESTBED_DIR", state()).env("KT_TESTBED_ROLE", role());
    command
}

/// kubectl as the administrator of the cluster. It is called thousands of times and ends at once, so
/// it does without a collector of garbage.
pub(crate) fn kubectl(args: &[&str]) -> Command {
    if !is_root() {
        return testbed(&[&["kubectl"], args].concat());
    }
    let mut command = Command::new(program("kubectl"));
    command.args(args).current_dir(checkout());
    command.env("KUBECONFIG", state().join("cluster/pki/admin.kubeconfig"));
    command.env("GOGC", "off").env("GOMEMLIMIT", "512MiB");
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Where the test bed keeps its programs and the state of the cluster.
pub(crate) fn state() -> PathBuf {
    if let Some(dir) = std::env::var_os("KT_TESTBED_DIR") {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    cache.unwrap_or_else(home).join("kt-testbed")
}

/// The file with the rights that `ktctl` ships for its users; the test bed binds it, too.
pub(crate) fn role() -> PathBuf {
    let told = std::env::var_os("KT_TESTBED_ROLE").map(PathBuf::from);
    told.unwrap_or_else(|| checkout().join("docs/rbac/all-commands-mini.yaml"))
}

/// One of the test bed's programs, under the path it has on this machine and on laptops.
pub(crate) fn program(name: &str) -> String {
    state().join("bin").join(name).display().to_string()
}

/// The kinds of laptop1, laptop2, and so on, as the cluster was started with them.
///
/// # Panics
/// When no cluster is up.
pub(crate) fn laptops() -> Vec<String> {
    let kinds = shape()["Kinds"].as_array().cloned().unwrap_or_default();
    kinds.iter().filter_map(|kind| kind.as_str().map(String::from)).collect()
}

/// How the running cluster was started.
fn shape() -> serde_json::Value {
    let file = state().join("cluster/complete");
    let text = std::fs::read(&file)
        .unwrap_or_else(|_| panic!("no cluster is up: run `make cluster-up NODES=2 LAPTOPS=2`"));
    serde_json::from_slice(&text).expect("the test bed writes JSON")
}
