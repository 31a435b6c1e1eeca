#!/usr/bin/env bash
# Format, lints, walls and licences: what must hold before each commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=${XDG_CACHE_HOME:-$HOME/.cache}/ktctl/bin:$PATH
cargo fmt --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
# What unpacks the router has a workspace of its own; any file does as what it has in it.
packed=(--manifest-path crates/agent/packed/Cargo.toml)
cargo fmt --check "${packed[@]}"
KT_PACKED=$PWD/LICENSE cargo clippy --quiet "${packed[@]}" --target x86_64-unknown-linux-musl --target-dir target -- -D warnings
if command -v cargo-deny >/dev/null; then
  cargo fetch --quiet --locked
  cargo deny --offline check bans licenses sources
else
  echo "skipped: walls and licences, as there is no cargo-deny (make setup)" >&2
  [[ -z ${KT_CI-} ]]
fi
