#!/usr/bin/env bash
# Runs every test that this machine can run and sums up. Unit and host tests need nothing, or
# root; the end-to-end tests need the test bed and the built ktctl. With KT_LONG set, tests
# use bigger numbers.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$PWD/target/test
rm -rf "$out"
mkdir -p "$out"
export KT_SKIPPED=$out/skipped # tests which cannot run here add a line
: >"$KT_SKIPPED"
broken=0 # steps that ended badly, whatever their tests said

step() { # NAME COMMAND...: its output is kept, and shown as it comes
  echo "== $1"
  "${@:2}" 2>&1 | tee "$out/$1.log"
  local code=${PIPESTATUS[0]}
  ((code == 0)) || { echo "== $1 ended with code $code"; broken=$((broken + 1)); }
  return "$code"
}

cluster_up() {
  scripts/setup.sh cluster &&
    testbed/testbed up --nodes 2 --laptops 8 --laptop-kind plain,plain,resolved,firewall,vpn,rpfilter,plain,plain
}

end_to_end() { # all files but one, which wants another cluster
  local files=(e2e/tests/*.rs) arguments=(--lib) file
  for file in "${files[@]}"; do
    file=$(basename "$file" .rs)
    [[ $file == another_cluster ]] || arguments+=(--test "$file")
  done
  cargo test -p e2e --no-fail-fast "${arguments[@]}" -- --test-threads=4
}

end_to_end_elsewhere() {
  testbed/testbed up --laptops 2 --dual-stack --cluster-domain foo.bar &&
    cargo test -p e2e --no-fail-fast --test another_cluster
}

step build scripts/build.sh
step peers scripts/setup.sh peers || broken=$((broken - 1)) # tests that need them say so
step unit cargo test --workspace --exclude e2e --no-fail-fast
if step images scripts/images.sh && step cluster cluster_up; then
  step smoke testbed/smoke
  step e2e end_to_end
  step elsewhere end_to_end_elsewhere
fi

cat "$out"/{unit,e2e,elsewhere}.log 2>/dev/null | scripts/results.sh "$KT_SKIPPED" >"$out/results"
step coverage scripts/coverage.sh "$out/results"

passed=$(grep -c ' ok$' "$out/results")
failed=$(grep -c ' FAILED$' "$out/results")
skipped=$(grep -cE ' (ignored|skipped)$' "$out/results")
sed 's/^/skipped: /' "$KT_SKIPPED" | sort -u
cat "$out"/*.log | grep -v ' ignored, run by ' | sed -nE 's/^test (.+) \.\.\. ignored, (.*)/skipped: \1: \2/p'
((failed > 0)) && sed -n 's/ FAILED$//p' "$out/results" | sed 's/^/failed: /'
((broken > 0 && failed == 0)) && failed=$broken
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
