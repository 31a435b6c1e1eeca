#!/usr/bin/env bash
# Shows on a real cluster what ktctl does: a laptop gets into the cluster (connect), a
# service of the cluster gets to the laptop (exchange), and then all is as it was.
set -euo pipefail
set -m # so that what runs in the background can be interrupted
cd "$(dirname "${BASH_SOURCE[0]}")/.."
testbed=testbed/testbed
scratch=$(mktemp -d)
connect='' exchange='' mesh='' server=''

main() {
  heading "Building ktctl, and starting a Kubernetes cluster with two laptops"
  scripts/setup.sh cluster
  nice -n 10 $testbed build & # beside the Rust build
  scripts/build.sh
  wait $!
  $testbed up --laptops 2
  bin=$(dirname "$(dirname "$(dirname "$($testbed kubeconfig)")")")/bin

  laptop sudo ln -sfn "$PWD/target/release/ktctl" /usr/local/bin/ktctl

  heading "A service in the cluster: tomcat"
  $testbed kubectl apply -n dev -f scripts/demo.yaml
  $testbed kubectl rollout status -n dev deployment/tomcat --timeout=60s
  pod_ip=$($testbed kubectl get pod -n dev --selector app=tomcat -o jsonpath='{.items[0].status.podIP}')
  service_ip=$($testbed kubectl get service -n dev tomcat -o jsonpath='{.spec.clusterIP}')
  laptop_picture >"$scratch/laptop.before"
  namespace_picture >"$scratch/namespace.before"
  echo "On the laptop nobody answers yet:"
  laptop curl -sS --max-time 2 "http://$pod_ip:8080" || true

  heading "Laptop to cluster: connect"
  start connect "KtConnect|All looks good" sudo ktctl connect
  for address in "$pod_ip" "$service_ip" tomcat tomcat.dev tomcat.dev.svc.cluster.local; do
    expect "kt-connect demo v1" curl -sS --max-time 10 "http://$address:8080"
  done
  echo "Meanwhile names of the office and of the Internet are what they were:"
  laptop getent ahostsv4 gitlab.corp.example | sed 1q
  laptop getent ahostsv4 www.example.com | sed 1q

  heading "Cluster to laptop: exchange"
  start server "http 127.0.0.1:8080" env LISTEN_HTTP=127.0.0.1:8080 LISTEN_RAW=127.0.0.1:0 \
    ECHO_PAGE="kt-connect local v2" "$bin/echo"
  start exchange "Now all request to" ktctl exchange tomcat --expose 8080
  in_cluster "kt-connect local v2"
  expect "kt-connect local v2" curl -sS --max-time 10 http://tomcat:8080

  heading "Ctrl+C ends exchange: the service is as before"
  stop exchange
  in_cluster "kt-connect demo v1"
  expect "kt-connect demo v1" curl -sS --max-time 10 http://tomcat:8080

  heading "Only my requests to my laptop: mesh"
  start mesh "Now you can access" ktctl mesh tomcat --expose 8080 --versionMark mine
  in_cluster "kt-connect local v2" "VERSION: mine"
  in_cluster "kt-connect demo v1" "VERSION: other"
  in_cluster "kt-connect demo v1"

  heading "Ctrl+C ends mesh: the service is as before"
  stop mesh
  in_cluster "kt-connect demo v1" "VERSION: mine"

  heading "Ctrl+C ends connect: the laptop is as before"
  stop connect
  stop server
  same "the laptop" "$scratch/laptop.before" laptop_picture
  same "the namespace" "$scratch/namespace.before" namespace_picture
  printf '\nThe cluster stays up: `%s exec dev1@laptop1 bash` is the laptop, `make cluster-down` ends it.\n' $testbed
}

heading() { printf '\n\033[1m== %s\033[0m\n' "$1"; }

laptop() { $testbed exec dev1@laptop1 "$@"; }

say() { printf '\033[36m%s $\033[0m %s\n' "$1" "${*:2}"; }

expect() { # TEXT COMMAND...: its answer on the laptop has the text in it
  say dev1@laptop1 "${@:2}"
  local answer
  answer=$(laptop "${@:2}" 2>&1) || true
  echo "$answer"
  [[ $answer == *"$1"* ]] || failed "expected: $1"
}

in_cluster() { # TEXT [HEADER]: the answer that a pod of the cluster gets from the service
  say "pod caller" curl ${2:+-H "'$2'"} http://tomcat:8080
  local answer
  answer=$($testbed kubectl exec -n dev caller -- /echo get http://tomcat:8080 ${2:+"$2"} 2>&1) || true
  echo "$answer"
  [[ $answer == *"$1"* ]] || failed "expected: $1"
}

start() { # NAME READY COMMAND...: runs on the laptop until stop NAME; READY is the last of its first words
  say dev1@laptop1 "${@:3}"
  $testbed exec dev1@laptop1 "${@:3}" >"$scratch/$1.log" 2>&1 & # no function: its shell would get the signal
  printf -v "$1" %s $!
  local pid=$! begin=$SECONDS
  until grep -q "${2##*|}" "$scratch/$1.log"; do
    kill -0 "$pid" 2>/dev/null || { cat "$scratch/$1.log"; failed "$1 has ended"; }
    ((SECONDS - begin < 60)) || { cat "$scratch/$1.log"; failed "$1 is not ready after 60 s"; }
    sleep 0.1
  done
  cat "$scratch/$1.log"
}

stop() { # NAME: as Ctrl+C does it
  local pid=${!1} shown code=0
  shown=$(wc -l <"$scratch/$1.log")
  kill -INT "$pid"
  wait "$pid" || code=$?
  printf -v "$1" %s ''
  tail -n "+$((shown + 1))" "$scratch/$1.log"
  [[ $1 == server || $code == 0 ]] || failed "$1 ended with code $code"
}

laptop_picture() {
  $testbed exec laptop1 sh -c 'ip -o addr | sed "s/valid_lft.*//"; ip route show table all; ip rule; nft list ruleset
    cat /etc/resolv.conf /etc/hosts; ps -ww -eo user=,args= | grep "[k]tctl "; true'
}

namespace_picture() {
  $testbed kubectl get -n dev pods,services,configmaps,deployments -o name
  $testbed kubectl get -n dev service tomcat -o jsonpath='{.spec}{"\n"}{.metadata.labels}{"\n"}'
}

same() { # WHAT FILE COMMAND: it gives the same as before; a pod may take seconds to go
  local try
  for try in {1..20}; do
    "$3" >"$2.now"
    if diff "$2" "$2.now" >"$2.diff"; then
      echo "$1 is as before"
      return
    fi
    sleep 0.5
  done
  cat "$2.diff"
  failed "$1 is not as before"
}

failed() {
  echo "FAILED: $1" >&2
  exit 1
}

cleanup() {
  local name
  for name in mesh exchange connect server; do
    [[ -z ${!name} ]] || { kill -INT "${!name}" && wait "${!name}"; } || true
  done
  rm -r "$scratch"
}

trap cleanup EXIT
main
