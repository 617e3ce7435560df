"""Builds on the real kernel: steps that run, layers they leave, the cache, and what a stopped build leaves: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sampan.builds import BuildOptions, StepFailed
from sampan.builds.progress import AnyEvent, Cached, Missed, Output, Started
from sampan.containers.model import HostConfig
from sampan.errors import Forbidden, SampanError
from support.inprocess import InProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Builder:
    """Builds in an engine of the test's own."""

    def __init__(self, host: InProcess) -> None:
        self.host = host
        self.events: list[AnyEvent] = []

    async def build(self, dockerfile: str, files: Mapping[str, str | bytes] | None = None, **options: Any) -> str:
        """The image's id."""
        self.events = []
        builds = self.host.engine.builds
        wanted = BuildOptions(**options)
        context = await builds.receive(_stream(_tar({"Dockerfile": dockerfile, **(files or {})})), wanted)
        try:
            return (await builds.build(wanted, context, self.events.append)).id
        finally:
            context.close()

    @property
    def output(self) -> str:
        return b"".join(event.data for event in self.events if isinstance(event, Output)).decode()

    @property
    def cached(self) -> list[str]:
        """The instructions that were found in the cache."""
        texts = {event.step: event.text for event in self.events if isinstance(event, Started)}
        return [texts[event.step] for event in self.events if isinstance(event, Cached)]

    @property
    def missed(self) -> list[str]:
        texts = {event.step: event.text for event in self.events if isinstance(event, Started)}
        return [texts[event.step] for event in self.events if isinstance(event, Missed)]

    async def run(self, image: str, *command: str) -> str:
        self.host.engine.images.tag(image, "under-test", "latest")
        code, out, err = await self.host.run(*command, image="under-test")
        assert code == 0, err
        return out.decode()


def _tar(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mtime = int.from_bytes(os.urandom(3), "big")  # times must never matter
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def builder() -> AsyncIterator[Builder]:
    host = await InProcess("bld").open()
    try:
        await host.load_busybox()
        yield Builder(host)
        assert_nothing_left(host)
    finally:
        await host.close()


def assert_nothing_left(host: InProcess) -> None:
    """No bundle, snapshot, context, mount or cgroup."""
    data, run = host.settings.data_root, host.settings.exec_root
    known = {container.id for container in host.engine.containers.all()}
    assert set(_names(run / "containers")) <= known
    assert set(_names(data / "snapshots")) <= known
    assert [name for name in _names(data / "builds") if name != "caches"] == []
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = [Path(place) for place in mounted if place.startswith(str(run / "containers"))]
    assert {place.relative_to(run / "containers").parts[0] for place in places} <= known


def _names(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()] if place.is_dir() else []


async def test_a_build_runs_copies_and_configures(builder: Builder) -> None:
    image = await builder.build(
        "ARG BASE=busybox\nFROM $BASE AS one\nARG WHO=world\nENV GREETING='hello there'\nWORKDIR /app\n"
        'RUN echo "$GREETING $WHO" > out; rm /bin/ls\nCOPY --chown=user:staff --chmod=640 f.txt sub/\nUSER user\n'
        "FROM one\nRUN --network=none cat out sub/f.txt 2>&1; id -u; stat -c '%u:%g %a' sub/f.txt\nCMD [\"sh\"]\n",
        {"f.txt": "content\n"},
        args={"WHO": "you"},
        tags=["x/y:1"],
    )
    assert builder.output == "hello there you\ncontent\n1000\n1000:50 640\n"
    found = builder.host.engine.images.resolve("x/y:1")
    assert found.id == image
    config = found.config
    assert (config.config.working_dir, config.config.user, config.config.cmd) == ("/app", "user", ["sh"])
    assert len(config.rootfs.diff_ids) == 4  # busybox, WORKDIR, RUN, COPY: the last RUN changed nothing
    assert [step.created_by for step in config.history][-2:] == [
        "|1 WHO=you /bin/sh -c cat out sub/f.txt 2>&1; id -u; stat -c '%u:%g %a' sub/f.txt",
        '/bin/sh -c #(nop)  CMD ["sh"]',
    ]
    assert await builder.run(image, "sh", "-c", "cat out; test -e /bin/ls || echo gone") == "hello there you\ngone\n"


async def test_the_cache_knows_content_survives_a_crash_and_gives_the_same_image(builder: Builder) -> None:
    dockerfile = "FROM busybox\nARG V\nRUN echo $V > /v\nCOPY f /f\nRUN cat /f\n"
    first = await builder.build(dockerfile, {"f": "1"}, args={"V": "a"})
    assert await builder.build(dockerfile, {"f": "1"}, args={"V": "a"}) == first
    assert builder.missed == []
    await builder.host.crash_and_open()
    assert await builder.build(dockerfile, {"f": "1"}, args={"V": "a"}) == first
    assert builder.missed == []
    assert await builder.build(dockerfile, {"f": "2"}, args={"V": "a"}) != first
    assert builder.missed == ["COPY f /f", "RUN cat /f"]
    await builder.build(dockerfile, {"f": "1"}, args={"V": "b"})
    assert builder.missed == ["RUN echo $V > /v", "COPY f /f", "RUN cat /f"]
    await builder.build(dockerfile, {"f": "1"}, args={"V": "a"}, no_cache=True)
    assert builder.cached == []


async def test_pruning_forgets_layers_that_no_image_has(builder: Builder) -> None:
    dockerfile = "FROM busybox\nRUN head -c 100000 /dev/zero > /zeros\n"
    image = await builder.build(dockerfile)
    removed, freed = await builder.host.engine.builds.prune(lambda record: True)
    assert (len(removed), freed) == (1, 0)  # the image still has it
    assert await builder.run(image, "wc", "-c", "/zeros") == "100000 /zeros\n"
    await builder.build(dockerfile)
    assert builder.missed == ["RUN head -c 100000 /dev/zero > /zeros"]


async def test_stages_run_side_by_side_and_unused_ones_not_at_all(builder: Builder) -> None:
    """Each of the two waits for the other's file in a shared cache mount: one after the other they never end."""
    wait = "while ! [ -e /c/{other} ]; do sleep 0.01; done"
    run = "RUN --mount=type=cache,id=meet,target=/c touch /c/{own}; " + wait
    await builder.build(
        "FROM busybox AS a\n" + run.format(own="a", other="b") + "; echo a > /a\n"
        "FROM busybox AS b\n" + run.format(own="b", other="a") + "; echo b > /b\n"
        "FROM busybox AS unused\nRUN exit 1\n"
        "FROM busybox\nCOPY --from=a /a /\nCOPY --from=1 /b /\nRUN cat /a /b; ls / | grep -c '^c$' || true\n"
    )
    assert builder.output == "a\nb\n0\n"


async def test_mounts_of_run(builder: Builder) -> None:
    await builder.build(
        "FROM busybox AS other\nRUN echo from-stage > /file\nFROM busybox\n"
        "RUN --mount=type=bind,target=/ctx cat /ctx/f; touch /ctx/x 2>/dev/null || echo read-only\n"
        "RUN --mount=type=bind,target=/ctx,rw touch /ctx/x && echo writable\n"
        "RUN --mount=type=bind,target=/ctx ls /ctx\n"
        "RUN --mount=from=other,source=/file,target=/mnt/deep/file cat /mnt/deep/file\n"
        "RUN --mount=type=tmpfs,target=/t,size=64k df -k /t | tail -1 | awk '{print $2}'\n"
        "RUN --mount=type=secret,id=s cat /run/secrets/s; stat -c %a /run/secrets/s\n"
        "RUN --mount=type=secret,id=s,env=S echo $S\n"
        "RUN ls -d /ctx /mnt /t /run 2>/dev/null; true\n",
        {"f": "in-context\n"},
        secrets={"s": b"hidden\n"},
    )
    assert builder.output == ("in-context\nread-only\nwritable\nDockerfile\nf\nfrom-stage\n64\nhidden\n400\nhidden\n")
    layers = builder.host.settings.data_root / "layers"
    assert not [path for path in layers.rglob("*") if path.name in ("s", "secrets")]


async def test_a_missing_secret_and_missing_entitlements_are_told(builder: Builder) -> None:
    with pytest.raises(StepFailed, match="secret s: not found"):
        await builder.build("FROM busybox\nRUN --mount=type=secret,id=s,required=true true\n")
    with pytest.raises(StepFailed, match="entitlement security.insecure is not allowed"):
        await builder.build("FROM busybox\nRUN --security=insecure true\n")
    assert Forbidden.status == 403


async def test_heredocs_archives_links_and_parents(builder: Builder) -> None:
    inner = _tar({"inside/t": "unpacked\n"})
    await builder.build(
        "FROM busybox\nCOPY <<EOF <<'RAW' /here/\nhome is $HOME_OF\nEOF\nkept $HOME_OF\nRAW\n"
        "ADD t.tar /un/\nADD --unpack=false t.tar /as-is/\nCOPY --link f /linked/f\nCOPY --parents a/./b/f /par/\n"
        "COPY --exclude=*.tar --exclude=a . /ex/\n"
        "RUN <<EOF\nset -e\ncat /here/EOF /here/RAW /un/inside/t /linked/f /par/b/f\nls /as-is /ex\nEOF\n"
        "RUN <<EOF\n#!/bin/cat\nas a script\nEOF\n",
        {"t.tar": inner, "f": "f\n", "a/b/f": "ab\n"},
    )
    assert builder.output == (
        "home is \nkept $HOME_OF\nunpacked\nf\nab\n/as-is:\nt.tar\n\n/ex:\nDockerfile\nf\n#!/bin/cat\nas a script\n"
    )


async def test_a_failed_step_tells_code_command_and_line(builder: Builder) -> None:
    with pytest.raises(StepFailed) as failed:
        await builder.build("FROM busybox\nRUN true\nRUN echo last words; exit 7\n")
    assert failed.value.message == "The command '/bin/sh -c echo last words; exit 7' returned a non-zero code: 7"
    assert failed.value.code == 7
    assert ">>> RUN echo last words; exit 7" in failed.value.excerpt
    assert builder.output == "last words\n"
    with pytest.raises(StepFailed, match='exec: "nope": executable file not found in \\$PATH'):
        await builder.build('FROM busybox\nRUN ["nope"]\n')
    assert builder.output == ""


@pytest.mark.parametrize("escape", ["/../../../../../../etc/hostname", "../../../../../../../../etc/hostname"])
async def test_a_link_in_the_context_does_not_reach_the_host(builder: Builder, escape: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, link in (("x", escape), ("d", "/")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            tar.addfile(entry)
        entry = tarfile.TarInfo("d/planted")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"!"))
    builds, options = builder.host.engine.builds, BuildOptions(dockerfile_source=b"FROM busybox\nCOPY x /x\n")
    context = await builds.receive(_stream(buffer.getvalue()), options)
    try:
        assert not Path("/planted").exists()
        with pytest.raises(SampanError, match="file does not exist"):
            await builds.build(options, context, builder.events.append)
    finally:
        context.close()


async def test_a_build_that_is_stopped_ends_its_processes(builder: Builder) -> None:
    task = asyncio.ensure_future(
        builder.build(
            "FROM busybox AS a\nRUN echo up; sleep 4711\nFROM busybox\nRUN echo up;  sleep 4711\nCOPY --from=a / /\n"
        )
    )
    while builder.output != "up\nup\n":
        await asyncio.sleep(0.01)
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if b"sleep\x004711" in _command(pid)]


def _command(pid: Path) -> bytes:
    try:
        return (pid / "cmdline").read_bytes()
    except OSError:
        return b""


async def test_what_a_killed_daemon_was_building_is_gone_at_its_next_start(builder: Builder) -> None:
    task = asyncio.ensure_future(builder.build("FROM busybox\nRUN echo up; sleep 4712\n"))
    while builder.output != "up\n":  # noqa: ASYNC110 (it is output that is waited for)
        await asyncio.sleep(0.01)
    bundles = list((builder.host.settings.exec_root / "containers").iterdir())
    assert bundles
    # The state files as a crash would leave them: a copy that nobody tidies up.
    spec = (bundles[0] / "config.json").read_bytes()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    leftover = builder.host.settings.exec_root / "containers" / ("ab" * 32)
    leftover.mkdir()
    (leftover / "config.json").write_bytes(spec)
    (builder.host.settings.data_root / "builds" / "context-dead").mkdir()
    (builder.host.settings.data_root / "snapshots" / ("ab" * 32)).mkdir()
    await builder.host.crash_and_open()
    assert_nothing_left(builder.host)


async def test_limits_hosts_and_network_reach_the_steps(builder: Builder) -> None:
    host = HostConfig(extra_hosts=["db.test:10.1.2.3"], network_mode="none", shm_size=1 << 20)
    await builder.build(
        "FROM busybox\nRUN grep -c db.test /etc/hosts; ls /sys/class/net; "
        "df -k /dev/shm | tail -1 | awk '{print $2}'\n",
        host_config=host,
    )
    assert builder.output == "1\nlo\n1024\n"


async def test_squash_makes_one_layer_of_the_steps(builder: Builder) -> None:
    image = await builder.build(
        "FROM busybox\nRUN echo 1 > /one; rm /bin/ls\nRUN rm /one; echo 2 > /two\n", squash=True
    )
    config = builder.host.engine.images.resolve(image).config
    assert len(config.rootfs.diff_ids) == 2
    assert await builder.run(image, "sh", "-c", "echo /one* /two; test -e /bin/ls || echo gone") == "/one* /two\ngone\n"


async def test_the_base_alone_is_the_base_and_scratch_alone_nothing(builder: Builder) -> None:
    busybox = builder.host.engine.images.resolve("busybox:latest").id
    assert await builder.build("FROM busybox\n", tags=["same"]) == busybox
    assert builder.host.engine.images.resolve("same").id == busybox
    with pytest.raises(SampanError, match="No image was generated"):
        await builder.build("FROM scratch\n")


async def test_remote_sources_are_fetched_checked_and_not_unpacked(builder: Builder, tmp_path: Path) -> None:
    archive = _tar({"inside": "unpacked\n", "Dockerfile": "FROM busybox\nCOPY inside /\nRUN cat /inside\n"})
    (tmp_path / "a.tar").write_bytes(archive)
    right, wrong = hashlib.sha256(archive).hexdigest(), "0" * 64
    with served(tmp_path) as url:
        await builder.build(
            f"FROM busybox\nADD --checksum=sha256:{right} {url}/a.tar /r/\nADD --unpack=true {url}/a.tar /u/\n"
            "RUN ls /r; stat -c %a /r/a.tar; cat /u/inside\n"
        )
        assert builder.output == "a.tar\n600\nunpacked\n"
        with pytest.raises(StepFailed, match=f"digest mismatch sha256:{right}: sha256:{wrong}"):
            await builder.build(f"FROM busybox\nADD --checksum=sha256:{wrong} {url}/a.tar /r/\n")
        await builder.build(f"FROM busybox\nADD {url}/a.tar /z/\nRUN ls /z\n")
        assert builder.output == "a.tar\n"
        await builder.build("FROM busybox\nADD a.tar /z/\nRUN ls /z\n", {"a.tar": archive})
        assert builder.output == "Dockerfile\ninside\n"
        with pytest.raises(StepFailed, match="ADD failed: failed to GET .* with status 404"):
            await builder.build(f"FROM busybox\nADD {url}/nope /r/\n")
        builder.events = []
        builds = builder.host.engine.builds
        context, options = await builds.fetch(f"{url}/a.tar", BuildOptions())
        try:
            await builds.build(options, context, builder.events.append)
        finally:
            context.close()
        assert builder.output == "unpacked\n"


@contextlib.contextmanager
def served(place: Path) -> Iterator[str]:
    """The URL of a web server for a directory."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def test_named_contexts_take_the_place_of_images_stages_and_directories(builder: Builder) -> None:
    await builder.build("FROM busybox\nRUN echo replaced > /r\n", tags=["other:1"])
    contexts = {
        "nothing/such:1": "docker-image://other:1",
        "stage": "docker-image://other:1",
        "dir": "local:contexts/0",
    }
    await builder.build(
        "FROM busybox AS stage\nRUN exit 1\nFROM nothing/such:1\nCOPY --from=dir / /d/\nCOPY --from=stage /r /s\n"
        "RUN --mount=from=dir,target=/m cat /r /s /d/f /m/f; ls /\n",
        {".sampan-contexts/0/f": "named\n"},
        contexts=contexts,
    )
    assert builder.output.startswith("replaced\nreplaced\nnamed\nnamed\n")


async def test_output_waits_for_a_listener_that_is_slow(builder: Builder) -> None:
    class Slow:
        """Takes a megabyte, then nothing until `go`."""

        def __init__(self) -> None:
            self.go, self.size = asyncio.Event(), 0

        def __call__(self, event: AnyEvent) -> None:
            self.size += len(event.data) if isinstance(event, Output) else 0

        def drain(self, step: int) -> Any:
            return self.go.wait() if self.size > 1 << 20 else None

    slow, builds = Slow(), builder.host.engine.builds
    options = BuildOptions(dockerfile_source=b"FROM busybox\nRUN yes | head -c 20000000\n")
    task = asyncio.ensure_future(builds.build(options, None, slow))
    while slow.size <= 1 << 20:  # noqa: ASYNC110 (it is output that is waited for)
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert slow.size < 2 << 20
    slow.go.set()
    await task
    assert slow.size == 20_000_000


async def test_cache_mounts_outlive_builds_until_they_are_pruned(builder: Builder) -> None:
    step = "FROM busybox\nRUN --mount=type=cache,target=/c,mode=0700 echo x >> /c/f; wc -l < /c/f; stat -c %a /c\n"
    await builder.build(step)
    await builder.build(step, no_cache=True)
    assert builder.output == "2\n700\n"
    builds = builder.host.engine.builds
    names, freed = await builds.prune_cache_mounts(lambda mount: mount.id == "/c")
    assert (len(names), freed) == (1, 4)
    await builder.build(step, no_cache=True)
    assert builder.output == "1\n700\n"


async def test_two_builds_that_need_one_step_run_it_once(builder: Builder) -> None:
    step = "FROM busybox\nRUN --mount=type=cache,id=once,target=/c echo x >> /c/f; sleep 0.3\n"
    other = Builder(builder.host)
    first, second = await asyncio.gather(builder.build(step), other.build(step))
    assert first == second
    assert len(builder.cached) + len(other.cached) == 1
    await builder.build("FROM busybox\nRUN --mount=type=cache,id=once,target=/c wc -l < /c/f\n")
    assert builder.output == "1\n"


async def test_onbuild_runs_in_the_next_build_only(builder: Builder) -> None:
    await builder.build("FROM busybox\nONBUILD RUN echo triggered\n", tags=["trigger"])
    assert builder.output == ""
    image = await builder.build("FROM trigger\nRUN echo own\n")
    assert builder.output == "triggered\nown\n"
    assert not builder.host.engine.images.resolve(image).config.config.on_build


async def test_source_date_epoch_gives_the_same_image_on_two_machines() -> None:
    dockerfile = "FROM busybox\nCOPY f /dir/f\nRUN mkdir -p /a/b; echo x > /a/b/c; rm /bin/ls\nWORKDIR /w\nENV A=1\n"
    found = set()
    for tag in ("repa", "repb"):
        host = await InProcess(tag).open()
        try:
            await host.load_busybox()
            builder = Builder(host)
            id = await builder.build(dockerfile, {"f": "1"}, args={"SOURCE_DATE_EPOCH": "1700000000"}, tags=["r"])
            found.add((id, host.engine.images.resolve("r").manifest_digest))
        finally:
            await host.close()
    assert len(found) == 1


async def test_what_dockerfiles_for_buildkit_count_on(builder: Builder) -> None:
    """A glob that matches nothing, several directories to one place, the last of ENV and ARG, a mount over /etc."""
    image = await builder.build(
        "FROM busybox\nENV X=env Y=env\nARG X=arg\nARG Y\nENV Z=$X\n"
        "COPY package.json yarn.lock* ./\nCOPY one two /both\n"
        "RUN --mount=source=one,target=/etc echo $X $Y $Z > /out; ls /etc >> /out; ls /both >> /out\n",
        {"package.json": "{}", "one/a": "a", "two/b": "b"},
    )
    assert await builder.run(image, "cat", "/out", "/package.json") == "arg env arg\na\na\nb\n{}"


async def test_parents_bring_their_directories_attributes(builder: Builder) -> None:
    image = await builder.build(
        "FROM busybox AS made\nRUN mkdir -p /a/b && touch /a/b/c && chown 7:8 /a /a/b && chmod 750 /a\n"
        "FROM busybox\nCOPY --parents --from=made /a/b/c /x/\nRUN stat -c '%a %u:%g %n' /x /x/a /x/a/b > /out\n"
    )
    assert await builder.run(image, "cat", "/out") == "755 0:0 /x\n750 7:8 /x/a\n755 7:8 /x/a/b\n"


async def test_a_trigger_may_name_a_stage(builder: Builder) -> None:
    dockerfile = "FROM busybox AS made\nRUN echo made > /f\nFROM busybox AS base\nONBUILD COPY --from=made /f /g\n"
    assert await builder.run(await builder.build(dockerfile + "FROM base\n"), "cat", "/g") == "made\n"
    with pytest.raises(StepFailed, match="circular dependency detected on stage: last"):
        await builder.build("FROM busybox AS base\nONBUILD COPY --from=last /f /g\nFROM base AS last\n")


async def test_an_image_of_scratch_has_a_path(builder: Builder) -> None:
    image = await builder.build("FROM scratch\nCOPY f /f\n", {"f": ""})
    config = builder.host.engine.images.resolve(image).config.config
    assert config.env == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
