#!/bin/bash
# test.sh: installs what the tests need and passes them. Run as root on Debian (12+) or Ubuntu (24.04+); safe to run again.
#   test.sh            everything, as CI does
#   test.sh ARGS...    only pytest, with these arguments
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
[[ $(id -u) == 0 ]] || { echo "test.sh: must run as root: sudo ./test.sh" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive

# The engine's own parts and the tests' tools: nft and ip to look at what the engine did, busybox for images.
packages=(crun runc conmon libnftables1 catatonit python3 python3-venv procps ca-certificates
  busybox-static nftables iproute2 iptables curl git)
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Another engine's tool for images and registries; tests that need it skip where the distribution has none.
command -v skopeo >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends skopeo >/dev/null 2>&1; } ||
  echo "test.sh: no skopeo in this machine's package archive: its tests skip" >&2

[[ -x .venv/bin/pip ]] || /usr/bin/python3 -m venv .venv
.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements-test.lock
.venv/bin/pip install -q --disable-pip-version-check --no-deps -e .

# A server that speaks S3, in an environment of its own.
[[ -x .venv/s3/bin/pip ]] || /usr/bin/python3 -m venv .venv/s3
.venv/s3/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements-s3-test.lock

# Peers: the stock docker CLI and a real registry, unpacked beside the tests and not installed, so that no foreign daemon starts.
peers=.venv/peers
unpack() { # PACKAGE... : the first that the archive has
  for package in "$@"; do
    (cd "$peers" && apt-get download -qq "$package" 2>/dev/null) || continue
    dpkg-deb -x "$peers"/"$package"_*.deb "$peers"; rm -f "$peers"/"$package"_*.deb; return 0
  done
  echo "test.sh: none of $* is in this machine's package archive" >&2; return 1
}
mkdir -p "$peers"
if ! command -v docker >/dev/null || ! [[ -x $peers/usr/bin/docker-registry ]]; then
  [[ -n $(ls /var/lib/apt/lists/*Packages* 2>/dev/null) ]] || apt-get update -qq
  command -v docker >/dev/null || [[ -x $peers/usr/bin/docker ]] || unpack docker-cli docker.io
  [[ -x $peers/usr/bin/docker-registry ]] || unpack docker-registry
fi
# Compose v2 is docker-compose-v2 in Ubuntu, docker-compose from Debian 13 on; what Debian 12 calls so is version 1, and its tests skip.
if ! [[ -x $peers/usr/libexec/docker/cli-plugins/docker-compose || -e $peers/no-compose ]]; then
  compose=$(apt-cache policy docker-compose-v2 docker-compose 2>/dev/null | awk '/^[^ ]/ {name=$1} /Candidate: [2-9]/ {print name; exit}')
  if [[ -n $compose ]]; then unpack "${compose%:}"; else touch "$peers/no-compose"; fi
fi

# buildx likewise: Debian 12 has none, and what needs the real plugin skips.
if ! [[ -x $peers/usr/libexec/docker/cli-plugins/docker-buildx || -e $peers/no-buildx ]]; then
  if [[ -n $(apt-cache policy docker-buildx 2>/dev/null | awk '/Candidate: [0-9]/') ]]; then unpack docker-buildx; else touch "$peers/no-buildx"; fi
fi

# Hundreds of short-lived clients and daemons are started: compiled once, wherever bytecode is unwanted in the tree.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=$PWD/.venv/pycache

run=(.venv/bin/python -m pytest -p no:cacheprovider)
if (($#)); then exec "${run[@]}" "$@"; fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports --no-cache
"${run[@]}" tests
