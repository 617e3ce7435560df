#!/bin/bash
# aiodocker.sh CHECKOUT unix:///path.sock [REPORT] [PYTEST ARGS...]
#   runs aiodocker's own tests (those that need no Swarm, or the modules in $MODULES) from a checkout outside this repository
#   against any engine, and writes one "nodeid outcome" line a test to REPORT, for comparing engines. The engine must have, or
#   be able to pull, python:3.13-alpine, python:3.14-alpine and registry:2; stand-ins with a Python in them will do.
set -euo pipefail
checkout=$(readlink -f "$1") host=$2 report=${3:-/dev/stdout}; shift 3 || shift $#
modules=${MODULES:-test_containers test_context test_events test_execs test_images test_integration test_networks test_system test_utils test_volumes}
[[ -x $checkout/.venv/bin/pytest ]] || {
  python3 -m venv "$checkout/.venv"
  "$checkout/.venv/bin/pip" install -q --disable-pip-version-check "$checkout" packaging 'aiohttp~=3.13.3' 'async-timeout~=5.0' 'pytest~=9.0' \
    'pytest-asyncio~=1.3' pytest-timeout 'testcontainers~=4.14' asyncssh paramiko
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOCKER_HOST=$host DOCKER_CONFIG=$work TESTCONTAINERS_RYUK_DISABLED=true
cd "$checkout"
files=(); for module in $modules; do files+=("tests/${module%.py}.py"); done
set +e
.venv/bin/pytest -q -o addopts= -p no:cacheprovider --timeout 120 -rA "${files[@]}" "$@" >"$work/out" 2>&1
awk '/^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) /{print $2, $1}' "$work/out" | sort -u >"$report"
tail -1 "$work/out" >&2
cp "$work/out" "${report%.*}.log" 2>/dev/null
