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
    for (program, arch) in
        [("shadow", "x86_64"), ("shadow", "aarch64"), ("router", "x86_64"), ("router", "aarch64")]
    {
        let path = folder.join(arch).join(program);
        println!("cargo::rerun-if-changed={}", path.display());
        let bytes = fs::read(&path).unwrap_or_default();
        if bytes.is_empty() {
            println!("cargo::warning=no {program} for {arch} is embedded: run `make build`");
        }
        fs::write(out.join(format!("{program}-{arch}")), bytes).expect("OUT_DIR is writable");
    }
}
