"""`sampan/hello`: an image that needs no registry and no compiler. Pure, deterministic: the same version gives the
same digests.

It is made in memory, byte by byte, when it is asked for: a static ELF for each architecture that writes one text and
exits, a layer with
that file, a config, a manifest, and one index over all of them. `scripts/hello_image.py` writes the same as an OCI
layout.

Sources: System V ABI, "ELF Header", "Program Header"; syscall numbers from the kernel's unistd.h; instruction encodings
from each architecture's manual.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

import msgspec

from sampan.images import manifests
from sampan.images.digests import digest
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.model import Platform
from sampan.images.references import Reference
from sampan.images.tar import writer
from sampan.images.tar.writer import Meta

NAME = "sampan/hello"
REFERENCE = Reference("docker.io", NAME, "latest")
_CREATED = "2026-01-01T00:00:00Z"
_EPOCH = 1767225600

TEXT = """
Ahoy! Your Sampan is afloat.

What you are reading came out of a container. On the way here:
 1. The sampan (or docker) client sent your command to the sampand daemon.
 2. The daemon had no "sampan/hello" yet, so it took the image on board: this one
    it can build by itself, others it pulls from a registry.
 3. It stacked the image's only layer under a fresh writable one, and gave the
    container its own processes, hostname, network and mounts.
 4. The runtime started /hello in there; the daemon carried its words to you.

Something bigger to try, a whole Debian with a shell:
    sampan run -it debian bash

What a container leaves behind, and how to tidy up:
    sampan ps -a
    sampan rm CONTAINER

"""


@dataclass(frozen=True, slots=True)
class _Machine:
    """One architecture. `code` gets (address of the text, its length) and gives instructions: write(1, text,
    length); exit(0).
    """

    platform: Platform
    elf: int
    bits: int
    base: int
    flags: int = 0


def _amd64(text: int, length: int) -> bytes:
    return (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (write)
        b"\xbf\x01\x00\x00\x00"  # mov edi, 1
        + b"\xbe" + struct.pack("<I", text)  # mov esi, text
        + b"\xba" + struct.pack("<I", length)  # mov edx, length
        + b"\x0f\x05"  # syscall
        b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
        b"\x31\xff"  # xor edi, edi
        b"\x0f\x05"
    )  # fmt: skip


def _i386(text: int, length: int) -> bytes:
    return (
        b"\xb8\x04\x00\x00\x00"  # mov eax, 4 (write)
        b"\xbb\x01\x00\x00\x00"  # mov ebx, 1
        + b"\xb9" + struct.pack("<I", text)  # mov ecx, text
        + b"\xba" + struct.pack("<I", length)  # mov edx, length
        + b"\xcd\x80"  # int 0x80
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (exit)
        b"\x31\xdb"  # xor ebx, ebx
        b"\xcd\x80"
    )  # fmt: skip


def _words(*words: int) -> bytes:
    return b"".join(struct.pack("<I", word) for word in words)


def _arm64(text: int, length: int) -> bytes:
    def movz(register: int, value: int) -> int:
        return 0xD2800000 | (value & 0xFFFF) << 5 | register

    def movk(register: int, value: int) -> int:  # bits 16 to 31
        return 0xF2A00000 | (value >> 16) << 5 | register

    return _words(
        movz(8, 64),  # write
        movz(0, 1),
        movz(1, text),
        movk(1, text),
        movz(2, length),
        0xD4000001,  # svc #0
        movz(8, 93),  # exit
        movz(0, 0),
        0xD4000001,
    )


def _arm(text: int, length: int) -> bytes:
    def movw(register: int, value: int) -> int:
        return 0xE3000000 | (value >> 12 & 0xF) << 16 | register << 12 | (value & 0xFFF)

    def movt(register: int, value: int) -> int:
        return 0xE3400000 | (value >> 28 & 0xF) << 16 | register << 12 | (value >> 16 & 0xFFF)

    return _words(
        movw(7, 4),  # write
        movw(0, 1),
        movw(1, text),
        movt(1, text),
        movw(2, length),
        0xEF000000,  # svc #0
        movw(7, 1),  # exit
        movw(0, 0),
        0xEF000000,
    )


def _riscv64(text: int, length: int) -> bytes:
    def load(register: int, value: int) -> tuple[int, int]:
        """lui + addiw; the second is signed, so the first rounds."""
        upper = (value + 0x800) >> 12 & 0xFFFFF
        return upper << 12 | register << 7 | 0x37, (value & 0xFFF) << 20 | register << 15 | register << 7 | 0x1B

    def small(register: int, value: int) -> int:  # addi register, zero, value
        return value << 20 | register << 7 | 0x13

    return _words(
        small(17, 64),  # a7: write
        small(10, 1),
        *load(11, text),
        *load(12, length),
        0x00000073,  # ecall
        small(17, 93),  # exit
        small(10, 0),
        0x00000073,
    )


_MACHINES = (
    (_Machine(Platform(os="linux", architecture="amd64"), 62, 64, 0x400000), _amd64),
    (_Machine(Platform(os="linux", architecture="arm64", variant="v8"), 183, 64, 0x400000), _arm64),
    (_Machine(Platform(os="linux", architecture="arm", variant="v7"), 40, 32, 0x10000, 0x05000400), _arm),
    (_Machine(Platform(os="linux", architecture="386"), 3, 32, 0x8048000), _i386),
    (_Machine(Platform(os="linux", architecture="riscv64"), 243, 64, 0x10000, 0x4), _riscv64),
)


def elf(architecture: str, text: bytes = TEXT.encode()) -> bytes:
    """A static executable that writes `text` (shorter than 64 KiB) and exits with 0."""
    machine, code = next((m, c) for m, c in _MACHINES if m.platform.architecture == architecture)
    header, program = (64, 56) if machine.bits == 64 else (52, 32)
    start = header + program
    length = len(code(0, 0))
    body = code(machine.base + start + length, len(text)) + text
    size = start + len(body)
    entry = machine.base + start
    identity = b"\x7fELF" + bytes((2 if machine.bits == 64 else 1, 1, 1, 0)) + bytes(8)
    sizes = (header, program, 1, 0, 0, 0)
    if machine.bits == 64:
        head = struct.pack("<HHIQQQI6H", 2, machine.elf, 1, entry, header, 0, machine.flags, *sizes)
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, machine.base, machine.base, size, size, 0x1000)
    else:
        head = struct.pack("<HHIIIII6H", 2, machine.elf, 1, entry, header, 0, machine.flags, *sizes)
        segment = struct.pack("<8I", 1, 0, machine.base, machine.base, size, size, 5, 0x1000)
    return identity + head + segment + body


def _layer(binary: bytes) -> bytes:
    head = writer.header(b"hello", b"0", Meta(mode=0o755, mtime=_EPOCH), size=len(binary))
    return head + binary + writer.padding(len(binary)) + writer.END


def _image(platform: Platform) -> tuple[Descriptor, dict[str, bytes]]:
    layer = _layer(elf(platform.architecture))
    config = msgspec.json.encode(
        {
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
            "os": "linux",
            "created": _CREATED,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["/hello"],
                "WorkingDir": "/",
                "Labels": {"org.opencontainers.image.title": NAME, "org.opencontainers.image.licenses": "Apache-2.0"},
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "history": [{"created": _CREATED, "created_by": "sampan: a hand-made ELF that says hello"}],
        }
    )
    manifest = manifests.encode(
        Manifest(
            schema_version=2,
            media_type=manifests.OCI_MANIFEST,
            config=Descriptor(media_type=manifests.OCI_CONFIG, digest=digest(config), size=len(config)),
            layers=[Descriptor(media_type=manifests.OCI_LAYER, digest=digest(layer), size=len(layer))],
        )
    )
    blobs = {digest(blob): blob for blob in (layer, config, manifest)}
    described = Descriptor(
        media_type=manifests.OCI_MANIFEST, digest=digest(manifest), size=len(manifest), platform=platform
    )
    return described, blobs


@functools.cache
def build() -> tuple[bytes, dict[str, bytes]]:
    """(the index, every blob by digest, the index among them)."""
    blobs: dict[str, bytes] = {}
    entries: list[Descriptor] = []
    for machine, _ in _MACHINES:
        entry, own = _image(machine.platform)
        entries.append(entry)
        blobs |= own
    index = manifests.encode(Index(schema_version=2, media_type=manifests.OCI_INDEX, manifests=entries))
    blobs[digest(index)] = index
    return index, blobs


def layout(only: Platform | None = None) -> dict[str, bytes]:
    """The files of an OCI image layout that holds the image under its name; with `only`, just the blobs one
    platform needs.
    """
    index, blobs = build()
    if only is not None:
        decoded = manifests.decode(index)
        assert isinstance(decoded, Index)
        blobs = {digest(index): index, **_image(manifests.select(decoded, only).platform or only)[1]}
    name = str(REFERENCE)
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest"}
    top = Index(
        schema_version=2,
        media_type=manifests.OCI_INDEX,
        manifests=[
            Descriptor(media_type=manifests.OCI_INDEX, digest=digest(index), size=len(index), annotations=annotations)
        ],
    )
    files = {f"blobs/sha256/{key.partition(':')[2]}": blob for key, blob in blobs.items()}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": manifests.encode(top), **files}


def archive(files: dict[str, bytes]) -> bytes:
    """A layout as one tar, for `load`."""
    out = [writer.header(b"blobs/", b"5", Meta(mode=0o755, mtime=_EPOCH))]
    out.append(writer.header(b"blobs/sha256/", b"5", Meta(mode=0o755, mtime=_EPOCH)))
    for name in sorted(files):
        data = files[name]
        out += [
            writer.header(name.encode(), b"0", Meta(mtime=_EPOCH), size=len(data)),
            data,
            writer.padding(len(data)),
        ]
    return b"".join(out) + writer.END
