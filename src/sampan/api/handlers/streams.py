"""Streams: attach, attach over a websocket, logs, exec."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import web

from sampan.api import detach, hijack
from sampan.api.call import Call, empty, reply
from sampan.api.connection import Connection, Hijacked
from sampan.api.handlers.containers import dimensions
from sampan.api.hijack import FRAME
from sampan.api.timestamps import parse
from sampan.api.views.container import exec_inspect
from sampan.containers import AttachOptions, LogOptions
from sampan.containers.model import ExecConfig, Status
from sampan.containers.streams import STDOUT
from sampan.errors import Conflict, InvalidParameter, SampanError

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def _media_type(call: Call, tty: bool) -> str:
    """1.42 told the two apart."""
    return MULTIPLEXED if not tty and call.version >= (1, 42) else RAW


def _take(call: Call, tty: bool) -> hijack.Socket:
    """Hijacks the call's connection and answers it."""
    connection = call.request.protocol
    assert isinstance(connection, Connection)
    channel = hijack.hijack(connection, framed=not tty)
    if "Upgrade" in call.request.headers:
        channel.raw(
            f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {_media_type(call, tty)}\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
        )
    else:
        channel.raw(f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n".encode())
    return channel


async def attach(call: Call) -> web.StreamResponse:
    await call.request.read()  # a body says nothing here
    try:
        options = AttachOptions(
            stdin=call.flag("stdin"),
            stdout=call.flag("stdout"),
            stderr=call.flag("stderr"),
            logs=call.flag("logs"),
            stream=call.flag("stream"),
        )
        keys = detach.keys(call.text("detachKeys"))
        container = call.engine.containers.get(call.name)
        stream = await call.engine.containers.attach(container.id, options)
    except SampanError as error:
        # Docker answers this one in plain text: it has taken the connection by then.
        status = HTTPStatus(error.status)
        response = web.Response(status=error.status, reason=status.phrase, body=f"{error.message}\r\n".encode())
        response.headers["Content-Type"] = RAW
        response.force_close()
        return response
    try:
        channel = _take(call, stream.tty)
    except BaseException:
        await stream.close()
        raise
    if options.logs:
        await asyncio.sleep(0.01)  # as below: what comes with the headers is lost to docker-py
    await hijack.carry(
        channel,
        stream,
        stdin=options.stdin,
        stdout=options.stdout,
        stderr=options.stderr,
        detach=keys if stream.tty else None,
        on_detach=lambda: call.engine.containers.detached(container.id),
    )
    return Hijacked()


async def attach_websocket(call: Call) -> web.StreamResponse:
    everything = call.version < (1, 42)
    options = AttachOptions(
        stdin=everything or call.flag("stdin"),
        stdout=everything or call.flag("stdout"),
        stderr=everything or call.flag("stderr"),
        logs=call.flag("logs"),
        stream=call.flag("stream"),
    )
    keys = detach.keys(call.text("detachKeys"))
    container = call.engine.containers.get(call.name)
    socket = web.WebSocketResponse()
    if not socket.can_prepare(call.request):
        raise InvalidParameter("not a websocket handshake")
    stream = await call.engine.containers.attach(container.id, options)
    try:
        await socket.prepare(call.request)
    except BaseException:
        await stream.close()
        raise
    await hijack.carry(
        hijack.WebSocket(socket, binary=call.version >= (1, 28)),
        stream,
        stdin=options.stdin,
        stdout=options.stdout,
        stderr=options.stderr,
        detach=keys if stream.tty else None,
        on_detach=lambda: call.engine.containers.detached(container.id),
    )
    return socket


async def logs(call: Call) -> web.StreamResponse:
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not stdout and not stderr:
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    container = call.engine.containers.get(call.name)
    tail = call.text("tail")
    options = LogOptions(
        stdout=stdout,
        stderr=stderr,
        follow=call.flag("follow"),
        since=parse(call.text("since")),
        until=parse(call.text("until")),
        # Anything that is not a number means all, as in Docker.
        tail=int(tail) if tail.isascii() and tail.isdigit() else None,
        timestamps=call.flag("timestamps"),
        details=call.flag("details"),
    )
    batches = call.engine.containers.logs(container.id, options)
    framed = not container.config.tty
    iterator = aiter(batches)
    first = None if options.follow else await anext(iterator, None)
    response = await call.streaming(_media_type(call, container.config.tty))
    batch = first if first is not None or not options.follow else await anext(iterator, None)
    while batch is not None:
        body = b"".join([_framed(one.stream, one.data) if framed else one.data for one in batch])
        if body:
            await response.write(body)
        batch = await anext(iterator, None)
    await response.write_eof()
    return response


def _framed(stream: int, data: bytes) -> bytes:
    """One frame a line: docker-py hands out what is in a frame, and its users expect lines."""
    *lines, rest = data.split(b"\n")
    head = FRAME.pack
    framed = b"".join([b"%b%b\n" % (head(stream, len(line) + 1), line) for line in lines])
    return framed + head(stream, len(rest)) + rest if rest else framed


# -- exec --------------------------------------------------------------------------------------------
async def exec_create(call: Call) -> web.StreamResponse:
    config = await call.decode(ExecConfig, "ExecOptions")
    if not config.cmd:
        raise InvalidParameter("No exec command specified")
    detach.keys(config.detach_keys)
    if call.version < (1, 42):
        config.console_size = None
    return reply({"Id": await call.engine.containers.exec_create(call.name, config)}, status=201)


async def exec_start(call: Call) -> web.StreamResponse:
    # `Tty` here only says how the client wants the stream; whether the process has a TTY was said at its creation.
    options = await call.decode(ExecConfig, "ExecStartOptions")
    containers = call.engine.containers
    instance = containers.exec_get(call.name)
    size = options.console_size if call.version >= (1, 42) and options.tty else None
    if options.detach:
        await containers.exec_start(instance.id, detach=True)
        return empty(200)
    keys = detach.keys(instance.config.detach_keys)
    container = containers.get(instance.container_id)
    if instance.started or instance.exit_code is not None or container.state.status is not Status.RUNNING:
        await containers.exec_start(instance.id, detach=False)
        raise Conflict(f"exec {instance.id} cannot be started")  # not reached: the engine says why
    # The answer goes out before the process starts: clients that read ahead while they look for the end of the headers
    # (Python's http.client, so docker-py) would lose output that comes with them.
    channel = _take(call, options.tty)
    try:
        stream = await containers.exec_start(instance.id, detach=False)
    except SampanError as error:
        # Too late for a status: Docker says it in the stream; the exit code is in `inspect`.
        channel.write(STDOUT, f"{error.message}\r\n".encode())
        await channel.finish()
        return Hijacked()
    if stream is None:
        await channel.finish()
        return Hijacked()
    if size and len(size) == 2 and stream.tty and all(size):
        await containers.exec_resize(instance.id, size[0], size[1])
    config = instance.config
    await hijack.carry(
        channel,
        stream,
        stdin=config.attach_stdin,
        stdout=config.attach_stdout,
        stderr=config.attach_stderr,
        detach=keys if stream.tty else None,
        on_detach=lambda: containers.exec_detached(instance.id),
    )
    return Hijacked()


async def exec_view(call: Call) -> web.StreamResponse:
    return reply(exec_inspect(call.engine.containers.exec_get(call.name)))


async def exec_resize(call: Call) -> web.StreamResponse:
    height, width = dimensions(call)
    await call.engine.containers.exec_resize(call.name, height, width)
    return empty(200)
