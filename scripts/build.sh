#!/usr/bin/env bash
# Builds the programs that are carried into pods, for both architectures, and then ktctl,
# which has them in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Bytes. A ConfigMap, and with it one request, holds about 1 MiB; the router, with HTTP/2 in it, is
# larger than that and travels as an image.
declare -A limits=([shadow]=1000000 [router]=1700000)

architectures=(x86_64 aarch64)
scripts/setup.sh build

arguments=()
for arch in "${architectures[@]}"; do
  arguments+=(--target "$arch-unknown-linux-musl")
  # The linker that comes with Rust links for either, without a C compiler.
  export "CARGO_TARGET_${arch^^}_UNKNOWN_LINUX_MUSL_LINKER=rust-lld"
done
cargo build --profile agent -p kt-agent --bin shadow --bin router "${arguments[@]}"

for arch in "${architectures[@]}"; do
  for program in shadow router; do
    built=target/$arch-unknown-linux-musl/agent/$program
    size=$(stat -c %s "$built")
    if ((size >= ${limits[$program]})); then
      echo "$program for $arch has $size bytes, the limit is ${limits[$program]}" >&2
      exit 1
    fi
    # Only a changed file: else cargo would build ktctl anew each time.
    cmp -s "$built" "target/agent/$arch/$program" || install -D -m 755 "$built" "target/agent/$arch/$program"
    echo "$program for $arch: $size bytes"
  done
done

cargo build --release -p ktctl
