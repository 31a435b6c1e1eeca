#!/usr/bin/env bash
# Reads what libtest said of each test, as "test a::b::name - should panic ... ok", and prints
# "name outcome". Libtest says ok of a test that returns because something is missing here; such tests
# stand in the list of $1, as "a::name: what is missing", and are skipped. What other tests run as a
# process of theirs is no test of its own, and not skipped.
set -euo pipefail

grep -v ' ignored, run by ' | sed -nE 's/^test (.+) \.\.\. (ok|FAILED|ignored)\b.*/\1|\2/p' |
  sed -E 's/ - should panic//; s/^[^ ]*:://; s/ /_/g; s/\|/ /' |
  awk -v list="$1" '
    BEGIN { while ((getline line < list) > 0) { sub(/: .*/, "", line); sub(/.*::/, "", line); skipped[line] = 1 } }
    $2 == "ok" && ($1 in skipped) { $2 = "skipped" }
    { print }'
