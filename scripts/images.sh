#!/usr/bin/env bash
# Packs the programs that run in pods as image archives, from an empty base and without Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/build.sh
mkdir -p target/images
testbed/testbed build-image --user 65532 kt-connect-shadow:local target/images/kt-connect-shadow.tar \
  "target/agent/$(uname -m)/shadow:/shadow" -- /shadow
echo "target/images/kt-connect-shadow.tar: $(stat -c %s target/images/kt-connect-shadow.tar) bytes"
