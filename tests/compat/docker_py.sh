#!/bin/bash
# docker_py.sh CHECKOUT unix:///path.sock [REPORT] [PYTEST ARGS...]
#   runs docker-py's own integration suite (all of it, or the modules in $MODULES) from a checkout outside this repository
#   against any engine that has busybox:latest, and writes one "nodeid outcome" line a test to REPORT, for comparing engines.
set -euo pipefail
checkout=$(readlink -f "$1") host=$2 report=${3:-/dev/stdout}; shift 3 || shift $#
[[ -x $checkout/.venv/bin/pytest ]] || {
  python3 -m venv "$checkout/.venv"
  "$checkout/.venv/bin/pip" install -q --disable-pip-version-check "$checkout[ssh,websockets]" 'pytest<9' pytest-timeout
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOCKER_HOST=$host DOCKER_CONFIG=$work DOCKER_BUILDKIT=0
stand_in() { # the suite's image. Where there is no Docker Hub: busybox, with what the tests expect of alpine
  printf 'FROM busybox:latest\nRUN echo postgres:x:70:70::/:/bin/sh >>/etc/passwd && mkdir -p /var/opt\n' | docker build -q -t alpine:3.10 - >/dev/null 2>&1
  docker tag alpine:3.10 alpine:latest
}
cd "$checkout"
modules=${MODULES:-$(cd tests/integration; ls *_test.py)}
set +e
for module in $modules; do
  stand_in # again: the tests of prune take it away
  .venv/bin/pytest -q -p no:cacheprovider --timeout 60 -rA "tests/integration/${module%.py}.py" "$@" >"$work/out" 2>&1
  awk '/^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) /{print $2, $1}' "$work/out" | sort -u >>"$work/report"
  echo "${module%.py}: $(tail -1 "$work/out")" >&2
  cat "$work/out" >>"$work/log"
done
cat "$work/report" >"$report"
cp "$work/log" "${report%.*}.log" 2>/dev/null
