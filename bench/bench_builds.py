"""Times builds on as many builders as named, taking turns.

    python3 bench/bench_builds.py sampan=sampan:unix:///run/sampan/sampan.sock \\
        classic=classic:unix:///var/run/docker.sock buildx=buildx:unix:///var/run/docker.sock

The kind after the name says which client builds: `sampan` (ours), `classic` (the docker CLI with DOCKER_BUILDKIT=0) or
`buildx` (the docker CLI's plugin; `--buildx` says how to start it). A whole client process is timed, its context's
upload included. Every engine needs `busybox:latest`. All images that are made are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAME = "bench-builds"
TEN = "FROM busybox\n" + "".join(f"RUN echo {number} > /{number}\n" for number in range(10))
COPY = "FROM busybox\nCOPY . /src/\n"
BRANCH = "FROM busybox AS {0}\nRUN dd if=/dev/zero bs=1M count=300 2>/dev/null | sha256sum > /{0}\n"
BRANCHES = (
    BRANCH.format("one") + BRANCH.format("two") + "FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
)


class Builder:
    def __init__(self, text: str, clients: dict[str, list[str]]) -> None:
        self.name, _, rest = text.partition("=")
        self.kind, _, self.host = rest.partition(":")
        self._client = clients[self.kind]
        self._environment = {**os.environ, "DOCKER_HOST": self.host, "SAMPAN_HOST": self.host, "DOCKER_CLI_HINTS": "0"}
        self._environment["DOCKER_BUILDKIT"] = "1" if self.kind == "buildx" else "0"

    def _do(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._client, *words], capture_output=True, text=True, env=self._environment)

    def build(self, context: Path, *flags: str) -> float:
        """Milliseconds."""
        words = ("buildx", "build", "--load") if self.kind == "buildx" else ("build",)
        began = time.perf_counter()
        done = self._do(*words, "-q", "-t", NAME, *flags, str(context))
        took = (time.perf_counter() - began) * 1000
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stdout}{done.stderr}")
        return took

    def forget(self) -> None:
        self._do("rmi", "-f", NAME)


def context(place: Path, dockerfile: str, files: int = 0) -> Path:
    """Files of 1 KiB, a hundred a directory."""
    place.mkdir()
    (place / "Dockerfile").write_text(dockerfile)
    for number in range(files):
        directory = place / f"d{number // 100}"
        if number % 100 == 0:
            directory.mkdir()
        (directory / f"f{number}").write_text(f"{number}\n" * (1024 // (len(str(number)) + 1)))
    return place


def cases(place: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Name → (context, flags). Those that are cached come after the ones that filled the cache."""
    ten = context(place / "ten", TEN)
    few, many = context(place / "few", COPY, 2_000), context(place / "many", COPY, 50_000)
    branches = context(place / "branches", BRANCHES)
    fresh = ("--no-cache",)
    return {
        "ten RUN steps": (ten, fresh),
        "ten RUN steps, all cached": (ten, ()),
        "COPY of 2,000 files": (few, fresh),
        "COPY of 2,000 files, cached": (few, ()),
        "COPY of 50,000 files": (many, fresh),
        "COPY of 50,000 files, cached": (many, ()),
        "two branches of 300 MiB to hash each": (branches, fresh),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builders", nargs="+", metavar="NAME=KIND:HOST")
    parser.add_argument("--n", type=int, default=5, help="counted runs of each case, after one that warms up")
    parser.add_argument("--only", default="", help="only the cases with this text in their name")
    parser.add_argument("--json", type=Path, help="every single value")
    parser.add_argument("--sampan", default=f"{sys.executable} -m sampan.cli.main")
    parser.add_argument("--docker", default="docker")
    parser.add_argument("--buildx", default="docker", help="a docker CLI that has the plugin")
    arguments = parser.parse_args()
    clients = {kind: shlex.split(getattr(arguments, kind)) for kind in ("sampan", "buildx")}
    clients["classic"] = shlex.split(arguments.docker)
    builders = [Builder(text, clients) for text in arguments.builders]
    values: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-builds-") as place:
        for name, (where, flags) in cases(Path(place)).items():
            if arguments.only not in name:
                continue
            rounds: dict[str, list[float]] = {builder.name: [] for builder in builders}
            for number in range(arguments.n + 1):
                for builder in builders:
                    took = builder.build(where, *flags)
                    if number:
                        rounds[builder.name].append(took)
            values[name] = rounds
            medians = {key: statistics.median(found) for key, found in rounds.items()}
            first = next(iter(medians.values()))
            shown = "  ".join(f"{key} {value:8.0f} ({first / value:.2f})" for key, value in medians.items())
            print(f"{name:40} {shown}", flush=True)
        for builder in builders:
            builder.forget()
    if arguments.json:
        arguments.json.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
