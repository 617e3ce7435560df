"""Seccomp profiles: Docker's default, and custom ones in Docker's JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.errors import SampanError
from sampan.runtime import capabilities, seccomp, seccomp_bpf
from sampan.runtime.seccomp import default_profile, load_profile

DOCKERS = frozenset(capabilities.DEFAULT)


def allowed(profile: dict[str, Any]) -> set[str]:
    """Calls allowed whatever their arguments."""
    rules = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")]
    return {name for rule in rules for name in rule["names"]}


def test_the_default_denies_what_docker_denies() -> None:
    profile = default_profile(DOCKERS, "amd64")
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    names = allowed(profile)
    assert {"read", "execve", "openat2", "ptrace", "arch_prctl", "chroot", "seccomp"} <= names
    assert not names & {
        *("io_uring_setup", "io_uring_enter", "keyctl", "add_key", "request_key", "userfaultfd", "mount", "unshare"),
        *("setns", "bpf", "kexec_load", "clone", "clone3", "socket", "personality", "open_by_handle_at", "reboot"),
    }


def test_clone3_is_unknown_and_clone_makes_no_namespaces() -> None:
    rules = {
        rule["names"][0]: rule for rule in default_profile(DOCKERS, "arm64")["syscalls"] if len(rule["names"]) == 1
    }
    assert rules["clone3"] == {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    assert rules["clone"]["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ"}]


def test_sockets_of_the_kernel_crypto_api_and_of_the_hypervisor_are_denied() -> None:
    rules = [rule["args"][0] for rule in default_profile(DOCKERS)["syscalls"] if rule["names"] == ["socket"]]

    def open_to(family: int) -> bool:
        return any(family < rule["value"] if rule["op"] == "SCMP_CMP_LT" else family == rule["value"] for rule in rules)

    assert all(map(open_to, (1, 2, 10, 16, 17, 44)))
    assert not any(map(open_to, (38, 40, 12)))


def test_capabilities_open_what_they_are_for() -> None:
    admin = allowed(default_profile(DOCKERS | {"CAP_SYS_ADMIN"}, "amd64"))
    assert {"mount", "unshare", "clone", "clone3", "setns", "bpf"} <= admin
    assert "settimeofday" in allowed(default_profile(DOCKERS | {"CAP_SYS_TIME"}, "amd64"))
    assert "chroot" not in allowed(default_profile(DOCKERS - {"CAP_SYS_CHROOT"}, "amd64"))


@pytest.mark.parametrize(
    ("arch", "architectures", "own", "other"),
    [
        ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "modify_ldt", "cacheflush"),
        ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], "cacheflush", "modify_ldt"),
    ],
)
def test_each_architecture_has_its_own(arch: str, architectures: list[str], own: str, other: str) -> None:
    profile = default_profile(DOCKERS, arch)
    assert profile["architectures"] == architectures
    assert own in allowed(profile) and other not in allowed(profile)


def custom(**profile: Any) -> str:
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", **profile})


def test_a_custom_profile_is_filtered_by_its_conditions() -> None:
    def call(name: str, **conditions: Any) -> dict[str, Any]:
        return {"names": [name], "action": "SCMP_ACT_ERRNO", **conditions}

    text = custom(
        archMap=[{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        syscalls=[
            call("a"),
            call("b", includes={"caps": ["CAP_SYS_ADMIN"]}),
            call("c", excludes={"caps": ["CAP_KILL"]}),
            call("d", includes={"arches": ["arm64"]}),
            call("e", includes={"minKernel": "5.9"}),
            call("f", includes={"minKernel": "6.10"}, errnoRet=13),
            {
                "name": "g",
                "action": "SCMP_ACT_KILL",
                "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_EQ"}],
            },
        ],
    )
    profile = load_profile(text, {"CAP_KILL"}, "amd64", "6.8.0-31-generic")
    assert profile is not None
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [rule["names"] for rule in profile["syscalls"]] == [["a"], ["e"], ["g"]]
    assert profile["syscalls"][2]["args"] == [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_EQ"}]


def test_bad_profiles_are_told() -> None:
    with pytest.raises(SampanError, match="Decoding seccomp profile failed"):
        load_profile("xx", ())
    with pytest.raises(SampanError, match="both 'architectures' and 'archMap'"):
        load_profile(custom(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86_64"}]), ())
    with pytest.raises(SampanError, match="both 'name' and 'names'"):
        load_profile(custom(syscalls=[{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]), ())
    assert load_profile("{}", ()) is None


def test_the_compiled_filter_is_a_bpf_program_and_cached() -> None:
    profile = default_profile(DOCKERS)
    program = seccomp_bpf.compile(profile)
    if program is None:
        pytest.skip("no libseccomp here")
    assert len(program) % 8 == 0 and 300 < len(program) // 8 < 4096  # BPF_MAXINSNS
    assert seccomp_bpf.annotation(profile) == seccomp_bpf.ready(profile)
    assert seccomp_bpf.compile({**profile, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}) is None
    assert seccomp.architecture() in ("amd64", "arm64") or program
