"""Times what moves images: save, load, import, commit, push and pull, on as many engines as named, taking turns.

    python3 bench/bench_images.py --image debian:trixie-slim sampan=unix:///run/sampan/sampan.sock docker=unix:///var/run/docker.sock

An image of this run's own is made from `--image` (which the first engine must have), so that nothing else uses it; all
that was made is removed. Pushes and pulls go to our own registry, started here on a loopback port with an empty
directory for each push, so that no layer is there yet.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NAME = "bench-images"


class Engine:
    def __init__(self, text: str, client: str) -> None:
        self.name, _, self.host = text.partition("=")
        self._client = client

    def do(self, *words: str) -> str:
        done = subprocess.run([self._client, "-H", self.host, *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def time(self, *words: str) -> float:
        """Milliseconds of a client's whole run."""
        began = time.perf_counter()
        self.do(*words)
        return (time.perf_counter() - began) * 1000

    def forget(self, *images: str) -> None:
        subprocess.run([self._client, "-H", self.host, "rmi", "-f", *images], capture_output=True)


@contextlib.contextmanager
def registry() -> Iterator[str]:
    """Our own, with nothing in it. Its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = tempfile.mkdtemp(prefix="bench-registry-")
    command = [sys.executable, "-m", "sampan.registry", "--address", f"127.0.0.1:{port}", "--storage", root]
    process = subprocess.Popen([*command, "--log-level", "error"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(root)


class Bench:
    """`work`: a directory with the root file system and the archive that all engines get."""

    def __init__(self, engines: list[Engine], image: str, work: Path) -> None:
        self.work, self.tar, self.archive = work, work / "root.tar", work / "image.tar"
        first = engines[0]
        id = first.do("create", image, "true")
        first.do("cp", str(self._random()), f"{id}:/bench-of-this-run")
        first.do("export", "-o", str(self.tar), id)
        first.do("rm", id)
        first.do("import", "-c", 'CMD ["sh"]', str(self.tar), NAME)
        first.do("save", "-o", str(self.archive), NAME)
        for engine in engines[1:]:
            engine.do("load", "-i", str(self.archive))

    def _random(self) -> Path:
        path = self.work / "random"
        path.write_bytes(os.urandom(1 << 20))
        return path

    def save(self, engine: Engine) -> float:
        return engine.time("save", "-o", str(self.work / "saved.tar"), NAME)

    def load(self, engine: Engine) -> float:
        engine.forget(NAME)
        return engine.time("load", "-q", "-i", str(self.archive))

    def import_(self, engine: Engine) -> float:
        took = engine.time("import", str(self.tar), f"{NAME}:imported")
        engine.forget(f"{NAME}:imported")
        return took

    def commit(self, engine: Engine) -> float:
        """A container with 32 MiB of its own."""
        id = engine.do("run", "-d", NAME, "sh", "-c", "head -c 33554432 /dev/urandom > /big; sleep 1000")
        try:
            while "33554432" not in engine.do("exec", id, "sh", "-c", "wc -c < /big"):
                time.sleep(0.1)
            return engine.time("commit", id, f"{NAME}:committed")
        finally:
            engine.do("rm", "-f", id)
            engine.forget(f"{NAME}:committed")

    def push(self, engine: Engine) -> float:
        with registry() as address:
            engine.do("tag", NAME, f"{address}/{NAME}")
            took = engine.time("push", "-q", f"{address}/{NAME}")
            engine.forget(f"{address}/{NAME}")
            return took

    def pull(self, engine: Engine) -> float:
        with registry() as address:
            engine.do("tag", NAME, f"{address}/{NAME}")
            engine.do("push", "-q", f"{address}/{NAME}")
            engine.forget(f"{address}/{NAME}", NAME)
            took = engine.time("pull", "-q", f"{address}/{NAME}")
            engine.do("tag", f"{address}/{NAME}", NAME)
            engine.forget(f"{address}/{NAME}")
            return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+", metavar="NAME=HOST")
    parser.add_argument("--image", default="debian:trixie-slim")
    parser.add_argument("--n", type=int, default=3, help="counted runs of each case (3)")
    parser.add_argument("--only", nargs="*", help="only these cases")
    parser.add_argument("--docker", default="docker", help="the client to use")
    parser.add_argument("--json", type=Path, help="every single value")
    given = parser.parse_args()
    engines = [Engine(text, given.docker) for text in given.engines]
    values: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-images-") as work:
        bench = Bench(engines, given.image, Path(work))
        cases: dict[str, Callable[[Engine], float]] = {
            "save": bench.save,
            "load": bench.load,
            "import": bench.import_,
            "commit": bench.commit,
            "push": bench.push,
            "pull": bench.pull,
        }
        try:
            for case, work_of in cases.items():
                if given.only and case not in given.only:
                    continue
                found: dict[str, list[float]] = {engine.name: [] for engine in engines}
                for _ in range(given.n):
                    for engine in engines:
                        found[engine.name].append(work_of(engine))
                values[case] = found
                medians = {name: statistics.median(times) for name, times in found.items()}
                base = medians[engines[0].name]
                shown = "  ".join(f"{name} {ms:8.0f} ms ({ms / base:4.2f})" for name, ms in medians.items())
                print(f"{case:<8} {shown}", flush=True)
        finally:
            for engine in engines:
                engine.forget(NAME)
    if given.json:
        given.json.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
