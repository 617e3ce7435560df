"""What a container's mounts will be: HostConfig's five ways to say it, resolved to one list. Pure.

`-v` (HostConfig.Binds), `--mount` (HostConfig.Mounts), `--tmpfs` (HostConfig.Tmpfs), `--volumes-from`
(HostConfig.VolumesFrom) and VOLUME (Config.Volumes, the image's merged in) become `MountPoint`s, as `inspect` shows
them. Precedence is Docker's, later wins a destination: volumes-from, then binds, then mounts; binds and mounts may
not repeat a destination, and VOLUME yields to all. `--tmpfs` stays in HostConfig, where Docker keeps it, and takes
its destination from every other.

The list is ordered parents first, so that nested mounts land on what they are nested in. `mount_syntax` parses each
word, `mounting` makes the list real.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from sampan.containers.model import Config, Container, HostConfig, MountPoint
from sampan.containers.mountpoints.mount_syntax import (
    IMPLIED_PROPAGATION,
    NON_RECURSIVE,
    READ_ONLY_NON_RECURSIVE,
    check_target,
    clean,
    parse_bind,
    parse_mount,
    tmpfs_options,
    volumes_from,
)
from sampan.errors import InvalidParameter
from sampan.runtime.failures import create_failed

_PROC_ALLOWED = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)
"""What may be covered under /proc (lxcfs does): runc's list. All else could disarm masked paths (CVE-2019-16884)."""


def resolve(
    config: Config, host_config: HostConfig, find: Callable[[str], Container], daemon_root: str = ""
) -> list[MountPoint]:
    """Every mount point of a container to be, parents first.

    Volumes are only named here (an anonymous one has the name ""); `source`, `driver` and that name are filled by
    `Mounting.claim`. `find` looks a container up for `--volumes-from`. Raises `InvalidParameter` in Docker's words.
    """
    for destination in host_config.tmpfs or {}:
        check_target(destination)
    points: dict[str, MountPoint] = {}
    for spec in host_config.volumes_from or []:
        for inherited in volumes_from(spec, find):
            points[inherited.destination] = inherited
    _add_binds(points, host_config)
    taken = {parse_bind(bind).destination for bind in host_config.binds or []}
    for mount in host_config.mounts or []:
        point = parse_mount(mount)
        if point.destination in taken:
            raise InvalidParameter(f"Duplicate mount point: {mount.target}")
        taken.add(point.destination)
        points[point.destination] = point
    covered = points.keys() | {clean(path) for path in host_config.tmpfs or {}}
    for path in config.volumes or {}:
        destination = _volume_path(path)
        if destination not in covered:
            points[destination] = MountPoint(
                type="volume", destination=destination, driver=host_config.volume_driver, anonymous=True
            )
    if daemon_root:
        for point in points.values():
            guard_daemon_root(point, daemon_root)
    return in_mount_order(list(points.values()))


def in_mount_order(points: Sequence[MountPoint]) -> list[MountPoint]:
    """Parents before what is mounted inside them; otherwise as given."""
    return sorted(points, key=lambda point: depth(point.destination))


def depth(destination: str) -> int:
    return clean(destination).count("/")


def _add_binds(points: dict[str, MountPoint], host_config: HostConfig) -> None:
    taken = {clean(path) for path in host_config.tmpfs or {}}
    for spec in host_config.binds or []:
        point = parse_bind(spec, host_config.volume_driver)
        if point.destination in taken:
            raise InvalidParameter(f"Duplicate mount point: {point.destination}")
        taken.add(point.destination)
        points[point.destination] = point


def _volume_path(path: str) -> str:
    """A VOLUME's destination. Relative ones, which images in the wild have, are taken from the root."""
    destination = clean("/" + path)
    if destination == "/":
        raise InvalidParameter("invalid specification: destination can't be '/'")
    return destination


def oci_mounts(
    points: Sequence[MountPoint],
    tmpfs: Mapping[str, str] | None,
    sources: Mapping[str, str],
    files: Collection[str] = (),
) -> list[dict[str, object]]:
    """The user's mounts in OCI form (runtime-spec config.md, "Mounts"), parents first.

    `sources` gives the host path for each destination (`Mounting.stage`); `files` are those whose source is no
    directory. A tmpfs from HostConfig.Tmpfs takes the place of a mount point at the same destination. Raises
    `InvalidParameter` for a bad tmpfs option or a destination in /proc.
    """
    memory = {clean(path): options.split(",") for path, options in (tmpfs or {}).items()}
    entries: list[dict[str, object]] = []
    for point in points:
        if point.destination in memory:
            continue
        if point.type == "tmpfs":
            memory[point.destination] = point.options
        else:
            source = sources[point.destination]
            _guard_proc(point.destination, source)
            entries.append(
                {
                    "destination": point.destination,
                    "type": "bind",
                    "source": source,
                    "options": _bind_options(point, point.destination in files),
                }
            )
    for destination, words in memory.items():
        _guard_proc(destination, "tmpfs")
        entries.append(
            {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": tmpfs_options(words)}
        )
    return sorted(entries, key=lambda entry: depth(str(entry["destination"])))


def _bind_options(point: MountPoint, is_file: bool) -> list[str]:
    options = ["bind" if NON_RECURSIVE in point.options else "rbind"]
    if not point.rw:
        # "rro" also covers what is mounted below the source (Linux 5.12; Docker 25 made it the default). crun 1.8 opens
        # what is rro as a directory.
        options.append("ro" if is_file or READ_ONLY_NON_RECURSIVE in point.options else "rro")
    return [*options, point.propagation or "rprivate"]


def rootfs_propagation(points: Sequence[MountPoint]) -> str:
    """`linux.rootfsPropagation` that the mounts need ("" for none): shared and slave ones stay so only below such a
    root."""
    wanted = {point.propagation for point in points}
    if wanted & {"shared", "rshared"}:
        return "shared"
    return "rslave" if wanted & {"slave", "rslave"} else ""


def _guard_proc(destination: str, source: str) -> None:
    """No mount over or inside /proc, as runc refuses it (crun does not). The host's own /proc may be bound on /proc."""
    if not re.match(r"/proc(/|$)", destination) or destination in _PROC_ALLOWED:
        return
    if destination == "/proc":
        if source == "/proc":
            return
        reason = "cannot be mounted because it is not of type proc"
    else:
        reason = "cannot be mounted because it is inside /proc"
    raise create_failed(
        f'error mounting "{source}" to rootfs at "{destination}": create mount destination for {destination} mount: '
        f'check proc-safety of {destination} mount: "{destination}" {reason}'
    )


def guard_daemon_root(point: MountPoint, daemon_root: str) -> None:
    """A bind that holds the data root must not pin the engine's own mounts: it is (r)slave or (r)shared."""
    if point.type != "bind":
        return
    inside = point.source == daemon_root or point.source.startswith(daemon_root + "/")
    if not inside and not (daemon_root + "/").startswith(point.source.rstrip("/") + "/"):
        return
    if point.propagation in ("slave", "rslave", "shared", "rshared"):
        return
    if point.propagation == "rprivate":
        point.propagation = "rslave"
        point.options.append(IMPLIED_PROPAGATION)
        return
    raise InvalidParameter(
        'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within '
        f'the daemon root, daemon root: "{daemon_root}", bind mount source: "{point.source}", '
        f'propagation: "{point.propagation}"'
    )
