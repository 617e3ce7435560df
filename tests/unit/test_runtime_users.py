"""USER and --user, from files that an image made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import SampanError
from sampan.linux import openat2
from sampan.runtime.users import User, resolve


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0::/root:\nann:x:1000:100::/home/ann:\n7:x:77:77::/:\nbig:x:4294967296:0::/:\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nwheel:x:10:root,ann\nusers:x:100:\nbad:x:99999999999:\n")
    return tmp_path / "etc"


@pytest.fixture
def root(etc: Path) -> Iterator[int]:
    with openat2.root(etc.parent) as descriptor:
        yield descriptor


def test_home_is_the_files_or_the_root(root: int) -> None:
    assert [resolve(root, spec).home for spec in ("", "ann", "5", "ann:5")] == ["/root", "/home/ann", "/", "/home/ann"]


@pytest.mark.parametrize(
    ("spec", "user"),
    [
        ("", User(0, 0, (0, 10))),
        ("root", User(0, 0, (0, 10))),
        ("ann", User(1000, 100, (100, 10))),
        ("1000", User(1000, 100, (100, 10))),
        ("ann:wheel", User(1000, 10, (10,))),
        ("ann:5", User(1000, 5, (5,))),
        ("4242", User(4242, 0, (0,))),
        ("4242:4343", User(4242, 4343, (4343,))),
        ("7", User(77, 77, (77,))),
    ],
)
def test_names_and_numbers(root: int, spec: str, user: User) -> None:
    assert resolve(root, spec) == user


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bob", "unable to find user bob: no matching entries in passwd file"),
        ("ann:bobs", "unable to find group bobs: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range 0-2147483647"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
        ("-5", "uids and gids must be in range 0-2147483647"),
        ("1:2147483648", "uids and gids must be in range 0-2147483647"),
        ("big", "uids and gids must be in range 0-2147483647"),
        ("ann:bad", "uids and gids must be in range 0-2147483647"),
        ("9" * 5000, "uids and gids must be in range 0-2147483647"),
    ],
)
def test_what_is_refused(root: int, spec: str, message: str) -> None:
    with pytest.raises(SampanError) as error:
        resolve(root, spec)
    assert error.value.message == message


def test_groups_are_added(root: int) -> None:
    assert resolve(root, "ann", ["users", "4242"]).groups == (100, 10, 100, 4242)
    with pytest.raises(SampanError, match="Unable to find group nope: no matching entries in group file"):
        resolve(root, "ann", ["nope"])


def test_an_image_without_files_has_numbers(root: int, etc: Path) -> None:
    (etc / "passwd").unlink()
    (etc / "group").unlink()
    assert resolve(root, "5:6") == User(5, 6, (6,))


def test_a_fifo_a_giant_and_a_link_out_do_not_stop_us(
    root: int, etc: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("outside") / "passwd"
    secret.write_text("mallory:x:5:5::/:\n")
    passwd = etc / "passwd"
    passwd.unlink()
    passwd.symlink_to(secret)
    with pytest.raises(SampanError, match="unable to find user mallory"):
        resolve(root, "mallory")
    passwd.unlink()
    os.mkfifo(passwd)
    with pytest.raises(SampanError, match="not a regular file"):
        resolve(root, "ann")
    passwd.unlink()
    with passwd.open("wb") as giant:
        giant.truncate(1 << 30)
    with pytest.raises(SampanError, match="larger than"):
        resolve(root, "ann")
