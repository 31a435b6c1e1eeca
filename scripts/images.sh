#!/usr/bin/env bash
# Packs the programs that run in pods as image archives, from an empty base and without Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/build.sh
mkdir -p target/images
for image in shadow:/shadow router:/usr/sbin/router; do
  program=${image%%:*} path=${image#*:}
  archive=target/images/kt-connect-$program.tar
  testbed/testbed build-image --user 65532 "kt-connect-$program:local" "$archive" \
    "target/agent/$(uname -m)/$program:$path" -- "$path"
  echo "$archive: $(stat -c %s "$archive") bytes"
done
