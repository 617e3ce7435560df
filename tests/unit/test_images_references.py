"""References: Docker's grammar, defaults and messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidParameter
from sampan.images import references
from sampan.images.references import Reference, parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("someone/tool", "docker.io/someone/tool", "someone/tool"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/tool", "localhost/tool", "localhost/tool"),
        ("localhost:5000/tool:x", "localhost:5000/tool:x", "localhost:5000/tool:x"),
        ("reg.example/a/b/c", "reg.example/a/b/c", "reg.example/a/b/c"),
        ("UPPER/tool", "UPPER/tool", "UPPER/tool"),
        ("[::1]:5000/tool", "[::1]:5000/tool", "[::1]:5000/tool"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        ("a__b/c-d--e.f", "docker.io/a__b/c-d--e.f", "a__b/c-d--e.f"),
    ],
)
def test_canonical_and_familiar_spelling(text: str, canonical: str, familiar: str) -> None:
    parsed = parse(text)
    assert (str(parsed), parsed.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("a/B:x", "invalid reference format: repository name (a/B) must be lowercase"),
        ("busybox:", "invalid reference format"),
        ("-busybox", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("busybox\n", "invalid reference format"),
        ("busybox:" + "x" * 129, "invalid reference format"),
        ("busybox@sha256:abc", "invalid reference format"),
        ("busybox@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("busybox@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("a/" * 128 + "b", "repository name must not be more than 255 characters"),
    ],
)
def test_bad_references_get_dockers_message(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(text)
    assert caught.value.message == message


def test_latest_is_the_default_only_without_tag_and_digest() -> None:
    assert parse("a").tagged().familiar == "a:latest"
    assert parse("a:1").tagged().tag == "1"
    assert parse(f"a@{DIGEST}").tagged().tag == ""


def test_digest_decides_where_both_are_given() -> None:
    assert parse(f"a:1@{DIGEST}").key() == f"docker.io/library/a@{DIGEST}"


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [("a", "", "a"), ("a", "1", "a:1"), ("a:1", "2", "a:2"), ("a:", "", "a"), ("a:1", DIGEST, f"a@{DIGEST}")],
)
def test_from_image_and_tag_together(name: str, tag: str, expected: str) -> None:
    assert references.join(name, tag).familiar == expected


_component = st.from_regex(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda c: len(c) < 40)
_domain = st.sampled_from(["docker.io", "localhost", "localhost:5000", "reg.example", "10.0.0.1:443", "[::1]:5000"])
_tag = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
_digest = st.one_of(st.just(""), st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True))


@given(_domain, st.lists(_component, min_size=1, max_size=4), _tag, _digest)
def test_every_spelling_means_the_same_reference(domain: str, parts: list[str], tag: str, digest: str) -> None:
    if domain == "docker.io" and len(parts) == 1:
        parts = ["library", *parts]
    if domain == "docker.io" and len(parts) > 1 and (parts[0] == "localhost" or "." in parts[0]):
        parts = ["x", *parts]
    reference = Reference(domain, "/".join(parts), tag, digest)
    if references.is_identifier(reference.familiar):
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar) == reference


@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parsed = parse(text)
    except InvalidParameter:
        return
    assert parse(str(parsed)) == parsed
    assert parsed.path == parsed.path.lower()
