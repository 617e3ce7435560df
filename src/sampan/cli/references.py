"""Image references as people write them: `busybox` is docker.io/library/busybox (distribution/reference)."""

from __future__ import annotations

from .errors import CliError

DEFAULT_DOMAIN = "docker.io"
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_WORD = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_HEX = frozenset("0123456789abcdefABCDEF")


class Reference:
    """`domain`/`path`, with a tag, a digest, both or neither (then "")."""

    __slots__ = ("digest", "domain", "path", "tag")

    def __init__(self, domain: str, path: str, tag: str, digest: str) -> None:
        self.domain = domain
        self.path = path
        self.tag = tag
        self.digest = digest

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name without what is implied: docker.io/library/busybox is busybox."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix("library/")
        return rest if "/" not in rest else self.path

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix()

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix()

    @property
    def name_only(self) -> bool:
        return not self.tag and not self.digest


def parse(text: str) -> Reference:
    """Read a reference; CliError with docker's words for one that is none."""
    if len(text) == 64 and all(char in "0123456789abcdef" for char in text):
        raise CliError(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(text)
    repository = remainder.partition("@")[0] if "@" in remainder else remainder
    last = repository.rpartition("/")[2]
    if ":" in last:
        repository = repository[: repository.rindex(":")]
    if repository.lower() != repository:
        raise CliError(f"invalid reference format: repository name ({repository}) must be lowercase")
    name, at, digest = remainder.partition("@")
    path, tag = name, ""
    if ":" in name.rpartition("/")[2]:
        path, _, tag = name.rpartition(":")
        if not _is_tag(tag):
            raise CliError("invalid reference format")
    if not _is_domain(domain) or not all(_is_component(part) for part in path.split("/")):
        raise CliError("invalid reference format")
    if at and not _is_digest(digest):
        raise CliError("invalid reference format")
    if len(path) > 255:
        raise CliError("repository name must not be more than 255 characters")
    return Reference(domain, path, tag, digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or (first != "localhost" and not any(char in first for char in ".:") and first.lower() == first):
        domain, remainder = DEFAULT_DOMAIN, text
    else:
        domain, remainder = first, rest
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = f"library/{remainder}"
    return domain, remainder


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= 128 and tag[0] in _WORD and all(char in _WORD or char in ".-" for char in tag)


def _is_domain(domain: str) -> bool:
    if domain.startswith("["):
        host, _, port = domain.partition("]")
        return all(char in _HEX or char == ":" for char in host[1:]) and (not port or port[1:].isdigit())
    host, colon, port = domain.partition(":")
    if colon and not port.isdigit():
        return False
    return all(
        part
        and part[0] != "-"
        and part[-1] != "-"
        and all((char in _WORD and char != "_") or char == "-" for char in part)
        for part in host.split(".")
    )


def _is_component(part: str) -> bool:
    """Runs of lower-case letters and digits, joined by one dot, one or two underscores, or dashes."""
    at = 0
    while True:
        start = at
        while at < len(part) and part[at] in _LOWER:
            at += 1
        if at == start:
            return False
        if at == len(part):
            return True
        mark = part[at]
        start = at
        while at < len(part) and part[at] == mark:
            at += 1
        if mark == "-" or (mark == "." and at - start == 1) or (mark == "_" and at - start <= 2):
            continue
        return False


def _is_digest(digest: str) -> bool:
    algorithm, colon, value = digest.partition(":")
    wanted = {"sha256": 64, "sha384": 96, "sha512": 128}.get(algorithm)
    if not colon or (wanted is not None and len(value) != wanted):
        return False
    return len(value) >= 32 and all(char in _HEX for char in value)
