"""Errors as gRPC statuses, with the place in the Dockerfile that BuildKit's clients draw.

Source: BuildKit util/grpcerrors (details are protobuf's JSON under a type URL), solver/errdefs.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from sampan.buildkit.status import worded
from sampan.builds.dockerfile.ast import Lines
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.errors import NotFound, NotSupported, SampanError

log = logging.getLogger("sampan.buildkit")

_SOURCE = "github.com/moby/buildkit/errdefs.Source+json"


def failure(error: Exception, dockerfile: tuple[str, bytes] | None = None, places: Sequence[Lines] = ()) -> GRPCError:
    """`dockerfile`: its name and content; `places` in it are at fault, where the error itself does not know them."""
    if isinstance(error, GRPCError):
        return error
    if not isinstance(error, SampanError):
        log.error("a call of BuildKit's failed", exc_info=error)
        return GRPCError(Status.UNKNOWN, str(error) or type(error).__name__)
    if isinstance(error, DockerfileError):
        places = error.lines or places
    details = [_source(dockerfile, place) for place in places] if dockerfile is not None else []
    return GRPCError(_status(error), worded(error.message), details)


def _status(error: SampanError) -> Status:
    if isinstance(error, NotSupported):
        return Status.UNIMPLEMENTED
    return Status.NOT_FOUND if isinstance(error, NotFound) else Status.UNKNOWN


def _source(dockerfile: tuple[str, bytes], place: Lines) -> tuple[str, bytes]:
    name, source = dockerfile
    told = {
        "info": {
            "filename": name,
            "data": base64.b64encode(source).decode(),
            "language": "Dockerfile",
        },
        "ranges": [{"start": {"line": place.start}, "end": {"line": place.end}}],
    }
    return _SOURCE, json.dumps(told).encode()
