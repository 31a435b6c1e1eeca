#!/usr/bin/env bash
# Builds the programs that are carried into pods, for both architectures, and then ktctl,
# which has them in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=1000000 # bytes: a ConfigMap, and with it one request, holds about 1 MiB

architectures=(x86_64 aarch64)
scripts/setup.sh build

arguments=()
for arch in "${architectures[@]}"; do
  arguments+=(--target "$arch-unknown-linux-musl")
  # The linker that comes with Rust links for either, without a C compiler.
  export "CARGO_TARGET_${arch^^}_UNKNOWN_LINUX_MUSL_LINKER=rust-lld"
done
cargo build --profile agent -p kt-agent --bin shadow "${arguments[@]}"
# Fast rather than small: it is packed, and each request of a meshed service passes through it.
cargo build --profile agent -p kt-agent --bin router "${arguments[@]}" \
  --config profile.agent.package.kt-agent.opt-level=3 --config profile.agent.package.httparse.opt-level=3

keep() { # BUILT WANTED: copies a changed file only: else cargo would build anew what has it in it
  cmp -s "$1" "$2" || install -D -m 755 "$1" "$2"
}

pack() { # ARCH: the router is bigger than a ConfigMap may be, so it unpacks itself
  local built=target/$1-unknown-linux-musl
  gzip -9nc "$built/agent/router" >"$built/agent/router.new"
  keep "$built/agent/router.new" "$built/agent/router.gz"
  KT_PACKED=$PWD/$built/agent/router.gz cargo build --release --target "$1-unknown-linux-musl" \
    --manifest-path crates/agent/packed/Cargo.toml --target-dir target
  keep "$built/release/packed" "target/agent/$1/router"
}

for arch in "${architectures[@]}"; do
  keep "target/$arch-unknown-linux-musl/agent/shadow" "target/agent/$arch/shadow"
  pack "$arch"
  for program in shadow router; do
    size=$(stat -c %s "target/agent/$arch/$program")
    echo "$program for $arch: $size bytes"
    if ((size >= limit)); then
      echo "that is too much, the limit is $limit" >&2
      exit 1
    fi
  done
done

cargo build --release -p ktctl
