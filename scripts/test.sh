#!/usr/bin/env bash
# Runs every test that this machine can run and sums up. Unit and host tests need nothing, or
# root; the end-to-end tests need the test bed and the built ktctl. With KT_LONG set, tests
# use bigger numbers.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$PWD/target/test
rm -rf "$out"
mkdir -p "$out/files"
export out KT_SKIPPED=$out/skipped # tests which cannot run here add a line
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
  local kinds=plain,plain,resolved,firewall,vpn,rpfilter,plain,plain,plain,plain
  scripts/setup.sh cluster && testbed/testbed up --nodes 2 --laptops 10 --laptop-kind $kinds
}

# Most tests wait most of the time, so several files run at once, long ones first. One restarts parts
# of the cluster, and so runs alone; one wants another cluster.
end_to_end() {
  local alone=restart elsewhere=another_cluster files=() file
  for file in rights walk mesh exchange scale flags $(cd e2e/tests && echo *.rs | sed 's/\.rs//g'); do
    [[ " ${files[*]} $alone $elsewhere " == *" $file "* ]] || files+=("$file")
  done
  cargo test -p e2e --no-run && cargo test -p e2e --lib || return
  printf '%s\n' "${files[@]}" | xargs -P 3 -I{} bash -c 'one_file {} --test-threads=2'
  local code=$?
  one_file $alone && return $code
}

one_file() { # NAME ARGUMENTS...: shown when it has ended, as others write at the same time
  local log=$out/files/$1.log code=0
  cargo test -p e2e --no-fail-fast --test "$1" -- "${@:2}" >"$log" 2>&1 || code=1
  flock "$out/files" cat "$log"
  return $code
}
export -f one_file

end_to_end_elsewhere() {
  testbed/testbed up --laptops 2 --dual-stack --cluster-domain foo.bar &&
    cargo test -p e2e --no-fail-fast --test another_cluster
}

step build scripts/build.sh
step peers scripts/setup.sh peers || broken=$((broken - 1)) # tests that need them say so
[[ -z ${KT_LONG-} ]] || step istio scripts/setup.sh istio || broken=$((broken - 1)) # the same
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
