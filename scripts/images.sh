#!/usr/bin/env bash
# Packs the programs that run in pods as image archives, from an empty base and without Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/build.sh
mkdir -p target/images
pack() { # PROGRAM PATH: its path in the image
  local archive=target/images/kt-connect-$1.tar
  testbed/testbed build-image --user 65532 "kt-connect-$1:local" "$archive" \
    "target/agent/$(uname -m)/$1:$2" -- "$2"
  echo "$archive: $(stat -c %s "$archive") bytes"
}
pack shadow /shadow
pack router /usr/sbin/router
