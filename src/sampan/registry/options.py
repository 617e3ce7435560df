"""What `sampan registry serve` can be told. The client lists the same flags, to print its help without this module."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Options(msgspec.Struct, kw_only=True):
    """One registry. Times in seconds."""

    address: str = "127.0.0.1:5000"
    storage: str = "/var/lib/sampan-registry"
    s3_endpoint: str = ""
    s3_region: str = ""
    htpasswd: str = ""
    tlscert: str = ""
    tlskey: str = ""
    tlscacert: str = ""
    mirror: str = ""
    mirror_username: str = ""
    mirror_password_file: str = ""
    mirror_keep: float = 7 * 86400.0
    no_delete: bool = False
    gc_interval: float = 3600.0
    gc_grace: float = 3600.0
    gc_untagged: bool = False
    log_level: str = "info"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{message}\nSee 'sampan registry serve --help'.\n")


def seconds(text: str) -> float:
    """`90s`, `1h30m`, `7d`, `0`."""
    if text == "0":
        return 0.0
    found = _DURATION.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}: use 90s, 15m, 1h30m or 7d")
    return sum(float(number) * _SECONDS[unit] for number, unit in found)


def parse(arguments: Sequence[str]) -> Options:
    """Exits with status 1 and a message for what cannot be meant."""
    parser = _Parser(prog="sampan registry serve", allow_abbrev=False)
    parser.add_argument("--address", metavar="HOST:PORT", help="Where to listen")
    parser.add_argument("--storage", metavar="DIR|s3://BUCKET[/PREFIX]", help="Where to keep everything")
    parser.add_argument("--s3-endpoint", metavar="URL", help="S3-compatible service, where it is not AWS")
    parser.add_argument("--s3-region", help="Region of the bucket")
    parser.add_argument("--htpasswd", metavar="FILE", help="Ask for a user and password from this file")
    parser.add_argument("--tlscert", metavar="FILE", help="Serve https with this certificate")
    parser.add_argument("--tlskey", metavar="FILE", help="Its key")
    parser.add_argument("--tlscacert", metavar="FILE", help="Demand client certificates signed by this CA")
    parser.add_argument("--mirror", metavar="URL", help="Be a read-through mirror of this registry")
    parser.add_argument("--mirror-username", help="User at the upstream registry")
    parser.add_argument("--mirror-password-file", metavar="FILE", help="File with the password for it")
    parser.add_argument("--mirror-keep", type=seconds, help="Forget what nobody asked for in this time")
    parser.add_argument("--no-delete", action="store_true", help="Refuse to delete")
    parser.add_argument("--gc-interval", type=seconds, help="Time between collections; 0 for none")
    parser.add_argument("--gc-grace", type=seconds, help="Age below which nothing is collected")
    parser.add_argument("--gc-untagged", action="store_true", help="Collect manifests without a tag too")
    parser.add_argument("--log-level", choices=("debug", "info", "warn", "error"), help="How much to log")
    given = {key: value for key, value in vars(parser.parse_args(list(arguments))).items() if value is not None}
    options = Options(**given)
    if problem := _problem(options):
        parser.error(problem)
    return options


def _problem(options: Options) -> str:
    host, colon, port = options.address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or "/" in host:
        return f"invalid address {options.address!r}: use HOST:PORT"
    if bool(options.tlscert) != bool(options.tlskey):
        return "--tlscert and --tlskey belong together"
    if options.tlscacert and not options.tlscert:
        return "--tlscacert needs --tlscert and --tlskey"
    if options.mirror and not options.mirror.startswith(("https://", "http://")):
        return f"invalid mirror {options.mirror!r}: use https://HOST[:PORT]"
    if bool(options.mirror_username) != bool(options.mirror_password_file):
        return "--mirror-username and --mirror-password-file belong together"
    if (options.s3_endpoint or options.s3_region) and not options.storage.startswith("s3://"):
        return "--s3-endpoint and --s3-region need --storage s3://BUCKET"
    if options.gc_grace < 60 and options.gc_interval:
        return "--gc-grace below a minute could collect what is being pushed"
    for name, path in (("htpasswd", options.htpasswd), ("tlscert", options.tlscert), ("tlskey", options.tlskey)):
        if path and not Path(path).is_file():
            return f"--{name}: no such file: {path}"
    return ""


def split_address(address: str) -> tuple[str, int]:
    """(host, port); "" listens everywhere, brackets of IPv6 go."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
