"""What the user may write: a `-v`, a `--mount`, a `--volumes-from`, tmpfs options, each parsed to `MountPoint`s. Pure.

Errors are `InvalidParameter` in the words of dockerd's volume parser, because clients match on them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from sampan.containers.model import Container, Mount, MountPoint, TmpfsOptions
from sampan.errors import InvalidParameter, NotFound

PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})

# Words in `MountPoint.options` of a bind.
CREATE_SOURCE = "create-source"
NON_RECURSIVE = "bind"
READ_ONLY_NON_RECURSIVE = "ro-nonrecursive"
READ_ONLY_FORCE_RECURSIVE = "ro-force-recursive"
IMPLIED_PROPAGATION = "implied-propagation"
"""The propagation is the engine's choice (a bind of its data root), not the user's."""

_MODES: tuple[frozenset[str], ...] = (
    frozenset({"rw", "ro"}),
    frozenset({"z", "Z"}),
    PROPAGATION,
    frozenset({"nocopy"}),
    frozenset({"consistent", "cached", "delegated"}),
)
"""The words of a `-v` mode: at most one of each set. z and Z relabel for SELinux, the last set is macOS's: no-ops
here."""

_TMPFS_FLAGS: dict[str, tuple[str, bool]] = {
    "ro": ("ro", True),
    "rw": ("ro", False),
    "suid": ("nosuid", False),
    "nosuid": ("nosuid", True),
    "dev": ("nodev", False),
    "nodev": ("nodev", True),
    "exec": ("noexec", False),
    "noexec": ("noexec", True),
    "sync": ("sync", True),
    "async": ("sync", False),
    "dirsync": ("dirsync", True),
    "remount": ("remount", True),
    "mand": ("mand", True),
    "nomand": ("mand", False),
    "atime": ("noatime", False),
    "noatime": ("noatime", True),
    "diratime": ("nodiratime", False),
    "nodiratime": ("nodiratime", True),
    "bind": ("bind", True),
    "rbind": ("bind", True),
    "relatime": ("relatime", True),
    "norelatime": ("relatime", False),
    "strictatime": ("strictatime", True),
    "nostrictatime": ("strictatime", False),
}
_TMPFS_VALUES = frozenset({"mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"})
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev", "rprivate")


def clean(path: str) -> str:
    """Go's path.Clean of an absolute path ("//" too, which POSIX lets normpath keep)."""
    return posixpath.normpath(path).replace("//", "/", 1) if path.startswith("//") else posixpath.normpath(path)


# -- `-v` ------------------------------------------------------------------------------------------


def parse_bind(spec: str, volume_driver: str = "") -> MountPoint:
    """One string of HostConfig.Binds: `[source:]destination[:mode]`. A source that is no absolute path names a
    volume."""
    wrong = InvalidParameter(f"invalid volume specification: '{spec}'")
    parts = spec.split(":")
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and _mode_is_valid(parts[1])):
        raise wrong
    source, target, mode = "", parts[0], ""
    if len(parts) > 1:
        source, target = parts[0], parts[1]
    if len(parts) == 3:
        mode = parts[2]
    if not _mode_is_valid(mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    words = mode.split(",") if mode else []
    is_bind = source.startswith("/")
    try:
        _check_mount_target("bind" if is_bind else "volume", target)
        propagation = next((word for word in words if word in PROPAGATION), "")
        if propagation and not is_bind:
            raise mount_error("volume", "field BindOptions must not be specified")
        if "nocopy" in words and is_bind:
            raise mount_error("bind", "field VolumeOptions must not be specified")
        if "ro" in words and not source:
            raise mount_error("volume", "must not set ReadOnly mode when using anonymous volumes")
    except InvalidParameter as error:
        raise InvalidParameter(f"{wrong.message}: {error.message}") from None
    point = MountPoint(destination=clean(target), mode=mode, rw="ro" not in words)
    if is_bind:
        point.type, point.source = "bind", clean(source)
        point.propagation = propagation or "rprivate"
        point.options = [CREATE_SOURCE]
        return point
    point.type, point.name, point.anonymous = "volume", source, not source
    point.driver, point.no_copy = volume_driver, "nocopy" in words
    point.mode = mode or "z"
    return point


def _mode_is_valid(mode: str) -> bool:
    if not mode:
        return True
    words = mode.split(",")
    return all(any(word in kind for kind in _MODES) for word in words) and all(
        sum(word in kind for word in words) <= 1 for kind in _MODES
    )


# -- `--mount` -------------------------------------------------------------------------------------


def parse_mount(mount: Mount) -> MountPoint:
    """One entry of HostConfig.Mounts. Looking whether a bind's source exists is `Mounting.claim`'s work."""
    kind = mount.type
    _check_mount_target(kind, mount.target)
    _check_foreign_options(mount)
    point = MountPoint(type=kind, destination=clean(mount.target), rw=not mount.read_only)
    if kind == "bind":
        _bind(mount, point)
    elif kind == "volume":
        _volume(mount, point)
    elif kind == "tmpfs":
        if mount.source:
            raise mount_error(kind, "field Source must not be specified")
        point.options = tmpfs_words(mount.tmpfs_options, mount.read_only)
    elif kind == "image":
        _image(mount, point)
    else:
        raise mount_error(kind, "mount type unknown")
    return point


def _bind(mount: Mount, point: MountPoint) -> None:
    if not mount.source:
        raise mount_error("bind", "field Source must not be empty")
    options = mount.bind_options
    if options and options.propagation and options.propagation not in PROPAGATION:
        raise mount_error("bind", f"invalid propagation mode: {options.propagation}")
    if not mount.source.startswith("/"):
        raise mount_error("bind", f"invalid mount path: '{mount.source}' mount path must be absolute")
    point.source = clean(mount.source)
    point.propagation = (options and options.propagation) or "rprivate"
    if options is None:
        return
    if options.read_only_non_recursive and options.read_only_force_recursive:
        raise InvalidParameter("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive")
    chosen = {
        CREATE_SOURCE: options.create_mountpoint,
        NON_RECURSIVE: options.non_recursive,
        READ_ONLY_NON_RECURSIVE: options.read_only_non_recursive,
        READ_ONLY_FORCE_RECURSIVE: options.read_only_force_recursive,
    }
    point.options = [word for word, wanted in chosen.items() if wanted]


def _volume(mount: Mount, point: MountPoint) -> None:
    options = mount.volume_options
    if options and options.subpath:
        if not mount.source:
            raise mount_error("volume", "must not set Subpath when using anonymous volumes")
        _check_subpath("volume", options.subpath)
        point.subpath = options.subpath
    if mount.read_only and not mount.source:
        raise mount_error("volume", "must not set ReadOnly mode when using anonymous volumes")
    point.name, point.anonymous, point.mode = mount.source, not mount.source, "z"
    if options:
        point.no_copy = options.no_copy
        point.driver = options.driver_config.name if options.driver_config else ""


def _image(mount: Mount, point: MountPoint) -> None:
    if not mount.source:
        raise mount_error("image", "field Source must not be empty")
    if mount.image_options and mount.image_options.subpath:
        _check_subpath("image", mount.image_options.subpath)
        point.subpath = mount.image_options.subpath
    point.name, point.rw = mount.source, False


def _check_foreign_options(mount: Mount) -> None:
    own = {"bind": "BindOptions", "volume": "VolumeOptions", "tmpfs": "TmpfsOptions", "image": "ImageOptions"}
    if mount.type not in own:
        return
    given = {
        "BindOptions": mount.bind_options,
        "VolumeOptions": mount.volume_options,
        "TmpfsOptions": mount.tmpfs_options,
        "ImageOptions": mount.image_options,
    }
    for name, options in given.items():
        if options is not None and name != own[mount.type]:
            raise InvalidParameter(f'{name} must not be specified on mount type "{mount.type}"')


def _check_subpath(kind: str, subpath: str) -> None:
    """Go's filepath.IsLocal: relative, and never above where it starts. Symlinks are the executor's care."""
    if subpath.startswith("/") or clean(subpath) == ".." or clean(subpath).startswith("../"):
        raise mount_error(kind, f"subpath must be a relative path within the {kind}")


def _check_mount_target(kind: str, target: str) -> None:
    if not target:
        raise mount_error(kind, "field Target must not be empty")
    try:
        check_target(target)
    except InvalidParameter as error:
        raise mount_error(kind, error.message) from None


def check_target(target: str) -> None:
    if clean(target) == "/":
        raise InvalidParameter("invalid specification: destination can't be '/'")
    if not target.startswith("/"):
        raise InvalidParameter(f"invalid mount path: '{target}' mount path must be absolute")


def mount_error(kind: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f'invalid mount config for type "{kind}": {reason}')


def source_missing(source: str) -> InvalidParameter:
    """For a `--mount type=bind` whose source is not there."""
    return mount_error("bind", f"bind source path does not exist: {source}")


# -- `--volumes-from` ------------------------------------------------------------------------------


def volumes_from(spec: str, find: Callable[[str], Container]) -> list[MountPoint]:
    """The mount points another container lends: `name[:mode]`. What it borrowed itself comes along, so chains work."""
    if not spec:
        raise InvalidParameter("volumes-from specification cannot be an empty string")
    name, _, mode = spec.partition(":")
    if not _mode_is_valid(mode) or (mode and (set(mode.split(",")) & (PROPAGATION | {"nocopy"}))):
        raise InvalidParameter(f"invalid mode: {mode}")
    if not name:
        raise InvalidParameter('invalid name or ID supplied: ""')
    try:
        lender = find(name)
    except NotFound as error:
        raise InvalidParameter(error.message) from None
    writable = "ro" not in mode.split(",")
    return [
        MountPoint(
            type=point.type,
            name=point.name,
            source=point.source,
            destination=point.destination,
            driver=point.driver,
            rw=point.rw and writable,
            propagation=point.propagation,
            anonymous=point.anonymous,
            no_copy=True,
            subpath=point.subpath,
            image=point.image,
            options=list(point.options),
        )
        for point in lender.mounts
    ]


# -- tmpfs -----------------------------------------------------------------------------------------


def tmpfs_words(options: TmpfsOptions | None, read_only: bool) -> list[str]:
    """`--mount type=tmpfs,tmpfs-size=…,tmpfs-mode=…` as mount options."""
    words = ["ro"] if read_only else []
    if options is None:
        return words
    if options.mode:
        words.append(f"mode={options.mode:o}")
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    for option in options.options or []:
        if not 1 <= len(option) <= 2:
            raise mount_error("tmpfs", "invalid option array length")
        if option[0] not in ("exec", "noexec"):
            raise mount_error("tmpfs", f"invalid option: {option[0]}")
        words.append("=".join(option))
    return words


def tmpfs_options(words: Sequence[str]) -> list[str]:
    """Docker's defaults (noexec, nosuid, nodev) with the user's words over them: the last of each kind wins."""
    kept: dict[str, str] = {}
    for word in (*_TMPFS_DEFAULTS, *words):
        if word in ("", "defaults"):
            continue
        key, _, value = word.partition("=")
        if word in PROPAGATION or word in ("unbindable", "runbindable"):
            kind = "propagation"
        elif word in _TMPFS_FLAGS:
            kind = _TMPFS_FLAGS[word][0]
        elif value and key in _TMPFS_VALUES:
            kind = key
        else:
            raise InvalidParameter(f'invalid tmpfs option "{key}"')
        kept.pop(kind, None)
        kept[kind] = word
    return list(kept.values())
