#!/usr/bin/env python3
"""Writes the `sampan/hello` image, for every platform, as an OCI layout: a directory, or one tar that `docker load`,
podman and skopeo read.

    scripts/hello_image.py hello/            a directory
    scripts/hello_image.py hello.tar         an archive
    scripts/hello_image.py --binary arm64 hello   one executable

The engine makes the same bytes in memory when the image is asked for (`sampan.images.hello`); nothing of it is kept
in git.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sampan.images import hello


def main() -> int:
    parser = argparse.ArgumentParser(description="write the sampan/hello image as an OCI layout")
    parser.add_argument("target", type=Path, help="a directory, or a file that ends in .tar")
    parser.add_argument("--binary", metavar="ARCH", help="write only one architecture's executable")
    arguments = parser.parse_args()
    target: Path = arguments.target
    if arguments.binary:
        target.write_bytes(hello.elf(arguments.binary))
        target.chmod(0o755)
    elif target.suffix == ".tar":
        target.write_bytes(hello.archive(hello.layout()))
    else:
        for name, data in hello.layout().items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
