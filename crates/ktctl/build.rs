//! Embeds the programs that are carried into pods, where `make build` has put them.
//!
//! Without them the build still succeeds, so that checks and tests of everything else need no cross
//! build; such a `ktctl` needs `--image`, and says so.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let folder = env::var_os("KT_AGENT_DIR").map_or_else(|| root.join("target/agent"), PathBuf::from);
    println!("cargo::rerun-if-env-changed=KT_AGENT_DIR");
    println!("cargo::rerun-if-env-changed=TAG");
    for arch in ["x86_64", "aarch64"] {
        let program = folder.join(arch).join("shadow");
        println!("cargo::rerun-if-changed={}", program.display());
        let bytes = fs::read(&program).unwrap_or_default();
        if bytes.is_empty() {
            println!("cargo::warning=no shadow for {arch} is embedded: run `make build`");
        }
        fs::write(out.join(format!("shadow-{arch}")), bytes).expect("OUT_DIR is writable");
    }
}
