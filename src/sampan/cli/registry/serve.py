"""`registry serve`: a registry of our own. Becomes `python -m sampan.registry`."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

FLAGS = (
    Flag("address", "string", "Where to listen, HOST:PORT", shown='"127.0.0.1:5000"'),
    Flag(
        "storage", "string", "Where to keep everything: DIR or s3://BUCKET[/PREFIX]", shown='"/var/lib/sampan-registry"'
    ),
    Flag("s3-endpoint", "string", "URL of an S3-compatible service, where it is not AWS"),
    Flag("s3-region", "string", "Region of the bucket"),
    Flag("htpasswd", "string", "Ask for a user and password from this file (bcrypt entries)"),
    Flag("tlscert", "string", "Serve https with this certificate"),
    Flag("tlskey", "string", "Its key"),
    Flag("tlscacert", "string", "Demand client certificates signed by this CA"),
    Flag("mirror", "string", "Be a read-through mirror of this registry (https://registry-1.docker.io)"),
    Flag("mirror-username", "string", "User at the upstream registry"),
    Flag("mirror-password-file", "string", "File with the password for it"),
    Flag("mirror-keep", "string", "Mirror: forget what nobody asked for in this time", shown="7d"),
    Flag("no-delete", "bool", "Refuse to delete"),
    Flag("gc-interval", "string", "Time between collections; 0 for none", shown="1h"),
    Flag("gc-grace", "string", "Age below which nothing is collected", shown="1h"),
    Flag("gc-untagged", "bool", "Collect manifests without a tag too"),
    Flag("log-level", "string", "How much to log: debug, info, warn, error", shown='"info"'),
)


def _serve(cli: Cli, flags: Flags, args: list[str]) -> int:
    words = []
    for flag in FLAGS:
        if not flags.changed(flag.name):
            continue
        if flag.type != "bool":
            words.append(f"--{flag.name}={flags.text(flag.name)}")
        elif flags.yes(flag.name):
            words.append(f"--{flag.name}")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sampan.registry", *words])


COMMAND = Command(
    "[OPTIONS]",
    _serve,
    most=0,
    long="Serve a registry (OCI distribution-spec 1.1): push, pull, tags, referrers, deletion, search, metrics.\n"
    "It keeps everything in a directory or on S3-compatible storage, where several copies may share one bucket.",
    flags=FLAGS,
)
