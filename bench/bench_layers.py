"""Unpacks one layer of 10,000 files, by the engine's own code and by GNU tar, taking turns, to the same file system.

    python3 bench/bench_layers.py [--to DIR] [--n RUNS] [--tar FILE]

As root, because a layer has owners. GNU tar keeps what a layer must keep (-p --numeric-owner --xattrs --acls); the
engine also hashes every byte. Wall time and the processor time of the thread (of tar: the process) that writes.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sampan.images import layers

TAR = ("tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls")
Run = tuple[float, float]


def sample(path: Path) -> None:
    """500 directories of 20 files of up to 20 KB, half of which does not compress."""
    chosen = random.Random(1)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for directory in range(500):
            entry = tarfile.TarInfo(f"usr/share/package{directory}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
            for file in range(20):
                entry = tarfile.TarInfo(f"usr/share/package{directory}/file{file}")
                entry.size, entry.mode = chosen.choice((0, 100, 700, 2000, 3000, 8000, 20000)), 0o644
                entry.mtime = 1_700_000_000 + file
                data = chosen.randbytes(entry.size // 2) + bytes(entry.size - entry.size // 2)
                archive.addfile(entry, io.BytesIO(data))


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            yield chunk


def ours(path: Path, target: Path) -> Run:
    taken: list[Run] = []

    def work() -> None:
        layers.own_umask()
        before, began = resource.getrusage(resource.RUSAGE_THREAD), time.perf_counter()
        layers.apply(chunks(path), target)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_THREAD)
        taken.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return taken[0]


def gnu(path: Path, target: Path) -> Run:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*TAR, "-f", path, "-C", target], check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("/dev/shm"), help="where to unpack (/dev/shm)")
    parser.add_argument("--n", type=int, default=9, help="counted runs of each (9)")
    parser.add_argument("--tar", type=Path, help="another layer, not compressed")
    given = parser.parse_args()
    runs: dict[str, list[Run]] = {"sampan": [], "tar": []}
    with tempfile.TemporaryDirectory(prefix="bench-layers-", dir=given.to) as place:
        path = given.tar or Path(place) / "layer.tar"
        if given.tar is None:
            sample(path)
        for turn in range(given.n + 1):
            for name, work in (("sampan", ours), ("tar", gnu)):
                target = Path(place) / name
                target.mkdir()
                run = work(path, target)
                shutil.rmtree(target)
                if turn:  # the first only warms up
                    runs[name].append(run)
            os.sync()
    for name, values in runs.items():
        wall, processor = (statistics.median(column) * 1000 for column in zip(*values, strict=True))
        best = min(value for value, _ in values) * 1000
        print(f"{name:<8} {wall:7.0f} ms (best {best:.0f}), processor {processor:.0f} ms")


if __name__ == "__main__":
    main()
