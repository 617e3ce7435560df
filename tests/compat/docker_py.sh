#!/bin/bash
# docker_py.sh CHECKOUT unix:///path.sock [REPORT] [PYTEST ARGS...]
#   runs docker-py's own integration suite (container, image and exec modules; or those in $MODULES) from a checkout outside this
#   repository against any engine that has busybox:latest, and writes one "nodeid outcome" line a test to REPORT, for comparing engines.
set -euo pipefail
checkout=$(readlink -f "$1") host=$2 report=${3:-/dev/stdout}; shift 3 || shift $#
modules=${MODULES:-api_container_test api_exec_test api_image_test models_containers_test models_images_test}
[[ -x $checkout/.venv/bin/pytest ]] || {
  python3 -m venv "$checkout/.venv"
  "$checkout/.venv/bin/pip" install -q --disable-pip-version-check "$checkout[ssh,websockets]" 'pytest<9' pytest-timeout
}
export DOCKER_HOST=$host DOCKER_CONFIG=$(mktemp -d)
trap 'rm -rf "$DOCKER_CONFIG"' EXIT
docker tag busybox:latest alpine:3.10; docker tag busybox:latest alpine:latest # the suite's image; there is no Docker Hub here, and busybox has what the tests call
cd "$checkout"
files=(); for module in $modules; do files+=("tests/integration/$module.py"); done
set +e
.venv/bin/pytest -q -p no:cacheprovider --timeout 60 -rA "${files[@]}" "$@" >"$DOCKER_CONFIG/out" 2>&1
awk '/^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) /{print $2, $1}' "$DOCKER_CONFIG/out" | sort -u >"$report"
tail -1 "$DOCKER_CONFIG/out" >&2
cp "$DOCKER_CONFIG/out" "${report%.*}.log" 2>/dev/null
