"""Every failure a user can meet, one class each, with the HTTP status the api maps it to.

::

    SampanError                  500
    ├── InvalidParameter         400   the request cannot mean anything
    ├── Unauthorized             401   a registry wants credentials, or refused those given
    ├── Forbidden                403   understood, never allowed
    ├── NotFound                 404   no such container, image, network, volume, exec, path
    ├── NotModified              304   already so: start of a running, stop of a stopped container
    ├── Conflict                 409   name in use, object in use, wrong state
    ├── TooManyRequests          429   a registry's rate limit
    ├── NotSupported             501   a real Docker feature that Sampan does not have (yet); says so
    └── Unavailable              503   the daemon cannot do this now (not a swarm manager, shutting down)

Messages are worded as Docker words them, because clients match on them. Anything that is not a `SampanError`
is a bug: the api answers 500 and logs a traceback.
"""

from __future__ import annotations

from typing import ClassVar


class SampanError(Exception):
    """A failure to be told to the user in one message."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidParameter(SampanError):
    status = 400


class Unauthorized(SampanError):
    status = 401


class Forbidden(SampanError):
    status = 403


class NotFound(SampanError):
    status = 404


class NotModified(SampanError):
    status = 304


class Conflict(SampanError):
    status = 409


class TooManyRequests(SampanError):
    status = 429


class NotSupported(SampanError):
    status = 501


class Unavailable(SampanError):
    status = 503
