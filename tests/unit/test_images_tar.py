"""The tar reader and writer, and compression: every format in use, and whatever damage."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.errors import SampanError
from sampan.images import compression
from sampan.images.layers import BadLayer, clean_name
from sampan.images.tar import writer
from sampan.images.tar.reader import BadArchive, Entry, TarReader
from sampan.images.tar.writer import Meta


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(data: bytes, size: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    reader = TarReader(pieces(data, size))
    return [(entry, b"".join(bytes(piece) for piece in reader.data())) for entry in reader]


def sample(format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in (("a", b"x"), ("d/" * 60 + "long", b"y" * 1000), ("ünïcode", b""), ("n" * 300, b"z" * 512)):
            if format == tarfile.USTAR_FORMAT and len(name) > 250:
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.gid, info.mode = len(data), 1_700_000_000, 1000, 2000, 0o4755
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("s")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * (90 if format == tarfile.USTAR_FORMAT else 200)
        tar.addfile(link)
        device = tarfile.TarInfo("dev")
        device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 4, 64
        tar.addfile(device)
    return buffer.getvalue()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 100, 512, 1000, 1 << 20])
def test_reads_what_tarfile_writes_however_the_bytes_arrive(format: int, size: int) -> None:
    data = sample(format)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(m.name, m.mode, m.uid, m.gid, m.size, m.linkname, m.devmajor, m.devminor) for m in tar]
        contents = [f.read() if (f := tar.extractfile(m)) and m.isreg() else b"" for m in tar if not m.issym()]
    found = read(data, size)
    assert [
        (e.name.decode(), e.mode, e.uid, e.gid, e.size, e.link.decode(), e.major, e.minor) for e, _ in found
    ] == expected
    assert [content for entry, content in found if entry.type != b"2"] == contents


@pytest.mark.parametrize("format", ["gnu", "0.0", "0.1", "1.0"])
def test_reads_sparse_files_as_gnu_tar_writes_them(tmp_path: Path, format: str) -> None:
    with (tmp_path / "holes").open("wb") as file:
        for position in range(0, 1 << 20, 1 << 14):  # more pieces than one header holds
            file.seek(position)
            file.write(b"data")
        file.truncate((1 << 20) + 5)
    how = ["--format=gnu"] if format == "gnu" else ["--format=pax", f"--sparse-version={format}"]
    subprocess.run(["tar", "-S", *how, "-cf", "out.tar", "holes"], check=True, cwd=tmp_path)
    ((entry, data),) = read((tmp_path / "out.tar").read_bytes(), 700)
    assert entry.name == b"holes" and entry.real_size == (1 << 20) + 5 and entry.sparse
    expanded = bytearray(entry.real_size)
    at = 0
    for offset, length in entry.sparse:
        expanded[offset : offset + length] = data[at : at + length]
        at += length
    assert bytes(expanded) == (tmp_path / "holes").read_bytes()


def test_pax_times_xattrs_and_large_ids() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("f")
        info.mtime, info.uid = 1_700_000_000.25, 3_000_000  # type: ignore[assignment]
        info.pax_headers = {"SCHILY.xattr.user.k": "v"}
        tar.addfile(info)
    ((entry, _),) = read(buffer.getvalue())
    assert (entry.mtime, entry.uid, entry.xattrs) == (1_700_000_000_250_000_000, 3_000_000, {"user.k": b"v"})


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=300),
            st.binary(max_size=1500),
            st.integers(0, 0o7777),
            st.integers(0, 2**31),
            st.integers(-(2**33), 2**35),
        ),
        max_size=5,
    ),
    st.integers(1, 4000),
)
def test_what_is_written_is_read_back(files: list[tuple[str, bytes, int, int, int]], size: int) -> None:
    data = b""
    for name, content, mode, uid, mtime in files:
        meta = Meta(mode, uid, uid, mtime)
        data += writer.header(name.encode(), b"0", meta, size=len(content), xattrs={"user.x": content[:9]})
        data += content + writer.padding(len(content))
    found = read(data + writer.END, size)
    assert [
        (e.name.decode(), content, e.mode, e.uid, e.mtime // 10**9, (e.xattrs or {})["user.x"]) for e, content in found
    ] == [(name, content, mode, uid, mtime, content[:9]) for name, content, mode, uid, mtime in files]


def test_an_archive_cut_at_any_byte_fails_or_ends_between_entries() -> None:
    data = sample(tarfile.GNU_FORMAT)
    whole = [entry.name for entry, _ in read(data)]
    for cut in range(0, len(data), 37):
        try:
            found = [entry.name for entry, _ in read(data[:cut])]
        except BadArchive as error:
            assert "unexpected EOF" in error.message
        else:
            assert found == whole[: len(found)]


def test_damage_is_told_with_the_entry_before_it() -> None:
    data = bytearray(sample(tarfile.USTAR_FORMAT))
    data[1024 + 20] ^= 0xFF
    with pytest.raises(BadArchive, match="checksum after entry 'a'"):
        read(bytes(data))


@settings(max_examples=120)
@given(st.data())
def test_flipped_bytes_never_crash_the_reader(data: st.DataObject) -> None:
    archive = bytearray(sample(data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(archive) - 1))
        archive[at] = data.draw(st.integers(0, 255))
        start = at - at % 512
        if data.draw(st.booleans()):  # a right checksum takes the damage past the first check
            block = archive[start : start + 148] + b" " * 8 + archive[start + 156 : start + 512]
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    with contextlib.suppress(SampanError):
        read(bytes(archive), 5000)


@given(st.binary(max_size=3000))
def test_noise_never_crashes_the_reader(noise: bytes) -> None:
    with contextlib.suppress(SampanError):
        read(b"".join(compression.decompress(pieces(noise, 333))))


@pytest.mark.parametrize(
    "compress", [gzip.compress, lambda d: gzip.compress(d[:9]) + gzip.compress(d[9:]), zstandard.compress,
                 lambda d: zstandard.compress(d[:9]) + zstandard.compress(d[9:]), bz2.compress, lzma.compress, bytes]
)  # fmt: skip
def test_every_compression_is_undone(compress: object) -> None:
    data = bytes(range(256)) * 9000
    assert callable(compress)
    packed = compress(data)
    for size in (3, 4096, 1 << 20) if len(packed) < 100_000 else (4096, 1 << 20):
        assert b"".join(compression.decompress(pieces(packed, size))) == data


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_cut_stream_is_an_error(compress: object) -> None:
    assert callable(compress)
    packed = compress(bytes(range(256)) * 2000)
    with pytest.raises(SampanError, match="truncated|damaged"):
        list(compression.decompress(pieces(packed[:-20], 1000)))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_bomb_is_undone_in_small_steps(compress: object) -> None:
    assert callable(compress)
    packed = compress(bytes(64 << 20))
    tracemalloc.start()
    assert sum(len(chunk) for chunk in compression.decompress(pieces(packed, 1 << 20))) == 64 << 20
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [(b"./a", b"a"), (b"/a/b/", b"a/b"), (b"a//b", b"a/b"), (b"a/./b", b"a/b"), (b"a/../b", b"b"), (b".", b""),
     (b"/../a", b"a"), (b".wh.x", b".wh.x"), (b"a/..b", b"a/..b"), (b"...", b"...")],
)  # fmt: skip
def test_names_are_cleaned(name: bytes, cleaned: bytes) -> None:
    assert clean_name(name) == cleaned


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/../../b", b"./../x"])
def test_names_that_begin_outside_are_refused(name: bytes) -> None:
    with pytest.raises(BadLayer, match="outside"):
        clean_name(name)
