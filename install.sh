#!/bin/bash
# install.sh: puts Sampan on a Debian (12+) or Ubuntu (24.04+) machine and runs a first container. Run as root; safe to run again.
#   SAMPAN_PREFIX     where the virtual environment goes (/opt/sampan)
#   SAMPAN_NO_RUN=1   install only: start nothing, run nothing
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
prefix=${SAMPAN_PREFIX:-/opt/sampan}
fail() { echo "install.sh: $*" >&2; exit 1; }
[[ $(id -u) == 0 ]] || fail "must run as root: sudo ./install.sh"
command -v apt-get >/dev/null || fail "this installer knows Debian and Ubuntu; elsewhere install crun (or runc), conmon, libnftables and catatonit, then: pip install ."
export DEBIAN_FRONTEND=noninteractive

# The kernel-facing parts (docs/architecture.md, "Parts") and what building a virtual environment takes.
packages=(crun runc conmon libnftables1 catatonit python3 python3-venv procps ca-certificates)
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "Installing ${missing[*]}"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed, this is $("$python" -V)"

echo "Installing sampan into $prefix"
[[ -x $prefix/bin/pip ]] || "$python" -m venv "$prefix"
"$prefix/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements.lock
"$prefix/bin/pip" install -q --disable-pip-version-check --no-deps --force-reinstall .

# The client starts cold in tens of milliseconds only without `site` (-S) and the user's environment (-I): hence wrappers.
site=$("$prefix/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
wrapper() { # NAME MODULE FUNCTION
  printf '%s\n' "#!$prefix/bin/python3 -IS" 'import sys' "sys.path.insert(0, \"$site\")" "from $2 import $3" "sys.exit($3())" \
    >"/usr/local/bin/$1"
  chmod 755 "/usr/local/bin/$1"
}
wrapper sampan sampan.cli.main script
wrapper sampand sampan.daemon main

getent group sampan >/dev/null || groupadd --system sampan
sampan --version
[[ -z ${SAMPAN_NO_RUN:-} ]] || exit 0

if [[ -d /run/systemd/system ]]; then
  install -m 644 packaging/sampan.service packaging/sampan.socket /etc/systemd/system/
  systemctl daemon-reload
  systemctl enable -q --now sampan.socket sampan.service
fi # without systemd, sampan starts the engine itself
sampan run --rm sampan/hello
