"""Mount points out of a container's configuration. Messages are dockerd 26.1's own."""

from __future__ import annotations

import pytest

from sampan.containers.model import (
    BindOptions,
    Config,
    Container,
    HostConfig,
    Mount,
    MountPoint,
    TmpfsOptions,
    VolumeOptions,
)
from sampan.containers.mountpoints.mount_syntax import tmpfs_options
from sampan.containers.mountpoints.mounts import oci_mounts, resolve, rootfs_propagation
from sampan.errors import InvalidParameter, NotFound
from sampan.runtime import StartFailed

NAME = 'invalid mount config for type "{}": {}'


def none(ref: str) -> Container:
    raise NotFound(f"No such container: {ref}")


def points(host_config: HostConfig, config: Config | None = None) -> dict[str, MountPoint]:
    return {point.destination: point for point in resolve(config or Config(), host_config, none)}


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        ("", "invalid volume specification: ''"),
        (":", "invalid volume specification: ':'"),
        (":/x", "invalid volume specification: ':/x'"),
        ("a:", "invalid volume specification: 'a:'"),
        ("/x:rw", "invalid volume specification: '/x:rw'"),
        ("aa:/x:ro:z", "invalid volume specification: 'aa:/x:ro:z'"),
        ("aa:/x:foo", "invalid mode: foo"),
        ("aa:/x:ro,rw", "invalid mode: ro,rw"),
        ("/tmp:/x:rshared,z,Z", "invalid mode: rshared,z,Z"),
        ("aa:/", f"invalid volume specification: 'aa:/': {NAME.format('volume', '')}invalid specification: destination can't be '/'"),  # noqa: E501
        ("aa:/x/..", f"invalid volume specification: 'aa:/x/..': {NAME.format('volume', '')}invalid specification: destination can't be '/'"),  # noqa: E501
        ("aa:x", f"invalid volume specification: 'aa:x': {NAME.format('volume', '')}invalid mount path: 'x' mount path must be absolute"),  # noqa: E501
        ("aa:/x:shared", f"invalid volume specification: 'aa:/x:shared': {NAME.format('volume', '')}field BindOptions must not be specified"),  # noqa: E501
        ("/tmp:/x:nocopy", f"invalid volume specification: '/tmp:/x:nocopy': {NAME.format('bind', '')}field VolumeOptions must not be specified"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_bad_bind_is_refused_in_docker_s_words(bind: str, message: str) -> None:
    if bind == "a:":
        message = "invalid volume specification: 'a:'"
    with pytest.raises(InvalidParameter) as caught:
        points(HostConfig(binds=[bind]))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (Mount(type="bind", target="/x"), NAME.format("bind", "field Source must not be empty")),
        (Mount(type="bind", source="/tmp"), NAME.format("bind", "field Target must not be empty")),
        (Mount(type="foo", source="/tmp", target="/x"), NAME.format("foo", "mount type unknown")),
        (Mount(type="", source="/tmp", target="/x"), NAME.format("", "mount type unknown")),
        (Mount(type="tmpfs", source="/tmp", target="/x"), NAME.format("tmpfs", "field Source must not be specified")),
        (
            Mount(type="bind", source="rel", target="/x"),
            NAME.format("bind", "invalid mount path: 'rel' mount path must be absolute"),
        ),
        (
            Mount(type="bind", source="/tmp", target="/x", bind_options=BindOptions(propagation="foo")),
            NAME.format("bind", "invalid propagation mode: foo"),
        ),
        (
            Mount(type="bind", source="/tmp", target="/x", volume_options=VolumeOptions()),
            'VolumeOptions must not be specified on mount type "bind"',
        ),
        (
            Mount(type="volume", target="/x", read_only=True),
            NAME.format("volume", "must not set ReadOnly mode when using anonymous volumes"),
        ),
        (
            Mount(type="volume", target="/x", volume_options=VolumeOptions(subpath="x")),
            NAME.format("volume", "must not set Subpath when using anonymous volumes"),
        ),
        (
            Mount(type="volume", source="vv", target="/x", volume_options=VolumeOptions(subpath="a/../../x")),
            NAME.format("volume", "subpath must be a relative path within the volume"),
        ),
        (
            Mount(type="volume", source="vv", target="/x", volume_options=VolumeOptions(subpath="/x")),
            NAME.format("volume", "subpath must be a relative path within the volume"),
        ),
    ],
)
def test_a_bad_mount_is_refused_in_docker_s_words(mount: Mount, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        points(HostConfig(mounts=[mount]))
    assert caught.value.message == message


@pytest.mark.parametrize(
    "host_config",
    [
        HostConfig(binds=["aa:/x", "bb:/x/"]),
        HostConfig(binds=["aa:/x"], tmpfs={"/x": ""}),
        HostConfig(binds=["aa:/x"], mounts=[Mount(type="tmpfs", target="/x")]),
        HostConfig(mounts=[Mount(type="tmpfs", target="/x"), Mount(type="tmpfs", target="/x")]),
    ],
)
def test_a_destination_is_mounted_once(host_config: HostConfig) -> None:
    with pytest.raises(InvalidParameter, match=r"^Duplicate mount point: /x$"):
        points(host_config)


def test_inspect_shows_what_docker_shows() -> None:
    found = points(
        HostConfig(
            binds=["vol1:/a", "/tmp/../srv/:/b:ro", "vol2:/n:nocopy"],
            mounts=[
                Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=1 << 20, mode=0o1770)),
                Mount(type="bind", source="/tmp", target="/f", read_only=True),
                Mount(type="volume", target="/g"),
            ],
        ),
        Config(volumes={"/c": {}, "/a/": {}, "relative": {}}),
    )
    assert set(found) == {"/a", "/b", "/n", "/t", "/f", "/g", "/c", "/relative"}
    a, b, n, c = found["/a"], found["/b"], found["/n"], found["/c"]
    assert (a.type, a.name, a.mode, a.rw, a.propagation, a.anonymous) == ("volume", "vol1", "z", True, "", False)
    assert (b.type, b.source, b.mode, b.rw, b.propagation) == ("bind", "/srv", "ro", False, "rprivate")
    assert (n.no_copy, n.mode) == (True, "nocopy")
    assert (c.anonymous, c.mode, c.rw) == (True, "", True)
    assert found["/g"].anonymous
    assert found["/t"].options == ["mode=1770", f"size={1 << 20}"]


def test_volumes_from_lends_everything_and_is_overridden_by_own_mounts() -> None:
    lender = Container(
        id="l",
        mounts=[
            MountPoint(type="volume", name="data", destination="/data", source="/v/data"),
            MountPoint(type="bind", source="/srv", destination="/srv", rw=False, propagation="rslave"),
            MountPoint(type="volume", name="anon", destination="/own", anonymous=True),
        ],
    )
    found = {
        point.destination: point
        for point in resolve(Config(), HostConfig(volumes_from=["l:ro"], binds=["mine:/own"]), lambda ref: lender)
    }
    assert (found["/data"].name, found["/data"].rw, found["/data"].no_copy) == ("data", False, True)
    assert (found["/srv"].propagation, found["/srv"].rw) == ("rslave", False)
    assert (found["/own"].name, found["/own"].anonymous) == ("mine", False)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "volumes-from specification cannot be an empty string"),
        (":ro", 'invalid name or ID supplied: ""'),
        ("a:b:c", "invalid mode: b:c"),
        ("nope", "No such container: nope"),
    ],
)
def test_a_bad_volumes_from_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        points(HostConfig(volumes_from=[spec]))
    assert caught.value.message == message


def test_nested_mounts_come_after_what_they_are_nested_in() -> None:
    entries = oci_mounts(
        resolve(Config(), HostConfig(binds=["/1:/a/b/c", "/2:/a"], mounts=[Mount(type="tmpfs", target="/a/b")]), none),
        {"/z/y/x/w": "size=1m"},
        {"/a/b/c": "/1", "/a": "/2"},
    )
    assert [entry["destination"] for entry in entries] == ["/a", "/a/b", "/a/b/c", "/z/y/x/w"]


def test_read_only_binds_are_so_all_the_way_down() -> None:
    plain = Mount(type="bind", source="/s", target="/a", read_only=True)
    shallow = Mount(
        type="bind",
        source="/s",
        target="/b",
        read_only=True,
        bind_options=BindOptions(read_only_non_recursive=True, non_recursive=True, propagation="rshared"),
    )
    found = resolve(Config(), HostConfig(mounts=[plain, shallow]), none)
    entries = {e["destination"]: e["options"] for e in oci_mounts(found, None, {"/a": "/s", "/b": "/s"})}
    assert entries == {"/a": ["rbind", "rro", "rprivate"], "/b": ["bind", "ro", "rshared"]}
    assert rootfs_propagation(found) == "shared"


def test_tmpfs_words_override_the_defaults() -> None:
    assert tmpfs_options(["exec", "size=1m", "rw", "size=2m"]) == [
        "nosuid",
        "nodev",
        "rprivate",
        "exec",
        "rw",
        "size=2m",
    ]
    with pytest.raises(InvalidParameter, match='invalid tmpfs option "foo"'):
        tmpfs_options(["foo"])


@pytest.mark.parametrize("destination", ["/proc", "/proc/sys", "/proc/foo/../self"])
def test_nothing_is_mounted_over_proc(destination: str) -> None:
    found = resolve(Config(), HostConfig(binds=[f"/srv:{destination}"]), none)
    with pytest.raises(StartFailed, match="check proc-safety"):
        oci_mounts(found, None, {point.destination: "/srv" for point in found})
    assert oci_mounts([MountPoint(type="bind", destination="/proc/meminfo")], None, {"/proc/meminfo": "/lxcfs"})


def test_a_bind_of_the_data_root_does_not_pin_the_engine_s_mounts() -> None:
    for source in ("/var/lib/sampan", "/var/lib", "/", "/var/lib/sampan/volumes"):
        (point,) = resolve(Config(), HostConfig(binds=[f"{source}:/x"]), none, "/var/lib/sampan")
        assert point.propagation == "rslave", source
    (point,) = resolve(Config(), HostConfig(binds=["/var/library:/x"]), none, "/var/lib/sampan")
    assert point.propagation == "rprivate"
