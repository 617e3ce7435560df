"""Image references: Docker's grammar, its defaults and its messages, as values. Pure functions.

Words: a *reference* is a name with a tag, a digest, both or neither. The *canonical* spelling has the registry's domain
(`docker.io/library/busybox:latest`), the *familiar* one is what people type (`busybox:latest`). The *path* is the
name without its domain (`library/busybox`), which is what a registry is asked for.

Source of the grammar: distribution/reference, "reference.go" (name, tag and digest productions).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sampan.errors import InvalidParameter

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library"
_NAME_LIMIT = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(rf"(?:({_DOMAIN})/)?({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII)
_TAG_ONLY = re.compile(_TAG, re.ASCII)
_DIGEST_ONLY = re.compile(r"([A-Za-z0-9_+.-]+):([0-9a-fA-F]+)", re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}


class Reference(NamedTuple):
    """A parsed reference. `tag` and `digest` are "" when absent."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """`docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """`busybox`, `someone/tool`, `registry:5000/a/b`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        head, _, rest = self.path.partition("/")
        return rest if head == _OFFICIAL and rest and "/" not in rest else self.path

    @property
    def suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        return self.familiar_name + self.suffix

    def __str__(self) -> str:
        return self.name + self.suffix

    @property
    def name_only(self) -> bool:
        return not self.tag and not self.digest

    def tagged(self) -> Reference:
        """With `:latest` where there is neither tag nor digest."""
        return self._replace(tag=DEFAULT_TAG) if self.name_only else self

    def with_tag(self, tag: str) -> Reference:
        """Raises `InvalidParameter` as Docker words it."""
        if not _TAG_ONLY.fullmatch(tag):
            raise InvalidParameter("invalid tag format")
        return self._replace(tag=tag)

    def with_digest(self, digest: str) -> Reference:
        return self._replace(digest=parse_digest(digest))

    def key(self) -> str:
        """What a reference store is asked for: the digest decides where both are given."""
        if self.digest:
            return f"{self.name}@{self.digest}"
        return str(self.tagged())


def is_digest(text: str) -> bool:
    """A whole digest of an algorithm we know, lower-case hex."""
    algorithm, _, value = text.partition(":")
    return len(value) == _HEX.get(algorithm, -1) and re.fullmatch(r"[0-9a-f]+", value) is not None


def parse_digest(text: str) -> str:
    """`text` when it is a digest. The messages are go-digest's."""
    found = _DIGEST_ONLY.fullmatch(text)
    if found is None:
        raise InvalidParameter("invalid checksum digest format")
    if found[1] not in _HEX:
        raise InvalidParameter("unsupported digest algorithm")
    if len(found[2]) != _HEX[found[1]]:
        raise InvalidParameter("invalid checksum digest length")
    if not is_digest(text):
        raise InvalidParameter("invalid checksum digest format")
    return text


def is_identifier(text: str) -> bool:
    """64 lower-case hex digits: an image id, never a name."""
    return _IDENTIFIER.fullmatch(text) is not None


def _split_domain(text: str) -> tuple[str, str]:
    head, slash, rest = text.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost" or head.lower() != head):
        domain, rest = DEFAULT_DOMAIN, text
    else:
        domain = head
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = f"{_OFFICIAL}/{rest}"
    return domain, rest


def parse(text: str) -> Reference:
    """A reference as people type it. Raises `InvalidParameter` with Docker's message."""
    if is_identifier(text):
        raise InvalidParameter(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidParameter(f"invalid reference format: repository name ({remote}) must be lowercase")
    whole = f"{domain}/{rest}"
    found = _REFERENCE.fullmatch(whole)
    if found is None:
        if _REFERENCE.fullmatch(whole.lower()) is not None:
            raise InvalidParameter("repository name must be lowercase")
        raise InvalidParameter("invalid reference format")
    if len(found[2]) > _NAME_LIMIT:
        raise InvalidParameter(f"repository name must not be more than {_NAME_LIMIT} characters")
    digest = parse_digest(found[4]) if found[4] else ""
    return Reference(found[1] or "", found[2], found[3] or "", digest)


def join(name: str, tag: str = "") -> Reference:
    """The reference that `fromImage` and `tag` of `POST /images/create` mean together: `tag` may be a digest.

    A trailing colon of `name` is dropped: `docker pull -a` of old clients sends one.
    """
    reference = parse(name.removesuffix(":"))
    if not tag:
        return reference
    if is_digest(tag):
        return reference._replace(tag="", digest=tag)
    return reference.with_tag(tag)
