"""A daemon of fixed answers on a unix socket: what a client draws then depends on nothing but the client."""

from __future__ import annotations

import json
import os
import re
import socketserver
import tempfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answers = dict[str, Any]
"""Answer by "METHOD /path" without version and query: a JSON value, bytes as they are, or (status, JSON value).
A list under "METHOD /path…stream" is sent as JSON lines, one chunk each."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        target, _, query = self.path.partition("?")
        path = re.sub(r"^/v\d+\.\d+", "", target)
        self.server.requests.append((f"{self.command} {path}", query, body))
        answers = self.server.answers
        key = f"{self.command} {path}"
        if path == "/_ping":
            self._send(200, b"" if self.command == "HEAD" else b"OK", "text/plain")
        elif f"{key}…stream" in answers:
            self._stream(answers[f"{key}…stream"])
        elif key in answers:
            answer = answers[key]
            status, value = answer if isinstance(answer, tuple) else (200, answer)
            data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode() + b"\n"
            self._send(status, data, "application/json")
        else:
            self._send(404, json.dumps({"message": f"page not found: {key}"}).encode(), "application/json")

    do_GET = do_POST = do_DELETE = do_HEAD = _answer

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.50")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, lines: list[Any]) -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.50")
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            data = json.dumps(line).encode() + b"\r\n"
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    answers: Answers
    requests: list[tuple[str, str, bytes]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of ours."""


class Canned:
    """Use as a context manager; `host` is its address, `requests` what was asked, in order."""

    def __init__(self, answers: Answers) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="canned-")
        path = Path(self._directory.name) / "s.sock"
        self.host = f"unix://{path}"
        self._server = _Server(str(path), _Handler)
        self._server.answers = answers
        self._server.requests = self.requests = []

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "DOCKER_HOST": self.host,
            "SAMPAN_HOST": self.host,
            "DOCKER_CONFIG": self._directory.name,
            "DOCKER_CLI_HINTS": "false",
            "SAMPAN_AUTOSTART": "0",
            "TZ": "UTC",
            **more,
        }

    def __enter__(self) -> Canned:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._directory.cleanup()
