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

for arch in "${architectures[@]}"; do
  built=target/$arch-unknown-linux-musl/agent/shadow
  size=$(stat -c %s "$built")
  if ((size >= limit)); then
    echo "shadow for $arch has $size bytes, the limit is $limit" >&2
    exit 1
  fi
  # Only a changed file: else cargo would build ktctl anew each time.
  cmp -s "$built" "target/agent/$arch/shadow" || install -D -m 755 "$built" "target/agent/$arch/shadow"
  echo "shadow for $arch: $size bytes"
done

cargo build --release -p ktctl
