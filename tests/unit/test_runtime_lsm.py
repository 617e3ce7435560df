"""`--security-opt apparmor=` and `label=`, on hosts with such a module and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import InvalidParameter
from sampan.runtime import lsm

CONTEXTS = """
process = "system_u:system_r:container_t:s0"
content = "system_u:object_r:virt_var_lib_t:s0"
file = "system_u:object_r:container_file_t:s0"
"""


@pytest.fixture
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lsm, "has_selinux", lambda: True)
    path = tmp_path / "lxc_contexts"
    path.write_text(CONTEXTS)
    return path


def test_an_apparmor_profile_is_set_only_where_the_kernel_has_apparmor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lsm, "has_apparmor", lambda: True)
    assert lsm.apparmor_profile("mine") == "mine"
    assert lsm.apparmor_profile("unconfined") == "unconfined"
    assert lsm.apparmor_profile("") == "", "docker-default is not loaded by this engine"
    monkeypatch.setattr(lsm, "has_apparmor", lambda: False)
    assert lsm.apparmor_profile("mine") == ""


def test_apparmor_is_asked_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "on/parameters").mkdir(parents=True)
    (tmp_path / "on/parameters/enabled").write_text("Y\n")
    assert lsm.has_apparmor(tmp_path / "on")
    assert not lsm.has_apparmor(tmp_path / "off")


def test_selinux_labels_are_the_policy_s_with_what_was_asked_for(contexts: Path) -> None:
    assert lsm.selinux_labels(["type:mine_t", "level:s0:c1,c2"], contexts) == (
        "system_u:system_r:mine_t:s0:c1,c2",
        "system_u:object_r:container_file_t:s0:c1,c2",
    )
    assert lsm.selinux_labels(["filetype:file_t", "user:u"], contexts) == (
        "u:system_r:container_t:s0",
        "system_u:object_r:file_t:s0",
    )


def test_no_selinux_labels_without_options_when_disabled_and_without_selinux(
    contexts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lsm.selinux_labels([], contexts) == ("", "")
    assert lsm.selinux_labels(["disable", "type:x"], contexts) == ("", "")
    monkeypatch.setattr(lsm, "has_selinux", lambda: False)
    assert lsm.selinux_labels(["type:x"], contexts) == ("", "")


def test_a_label_option_nobody_knows_is_refused(contexts: Path) -> None:
    with pytest.raises(InvalidParameter, match="bad label option"):
        lsm.selinux_labels(["bogus:x"], contexts)
