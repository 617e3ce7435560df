"""What the registry refuses, in the spec's words: `{"errors": [{"code", "message", "detail"}]}`.

Source: distribution-spec 1.1, "Error Codes"; UNSUPPORTED, SIZE_INVALID and the like carry the statuses that
CNCF's registry gives, because clients look at those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from sampan.errors import SampanError


class Code(NamedTuple):
    name: str
    http: int


BLOB_UNKNOWN = Code("BLOB_UNKNOWN", 404)
BLOB_UPLOAD_INVALID = Code("BLOB_UPLOAD_INVALID", 400)
BLOB_UPLOAD_UNKNOWN = Code("BLOB_UPLOAD_UNKNOWN", 404)
DENIED = Code("DENIED", 403)
DIGEST_INVALID = Code("DIGEST_INVALID", 400)
MANIFEST_BLOB_UNKNOWN = Code("MANIFEST_BLOB_UNKNOWN", 404)
MANIFEST_INVALID = Code("MANIFEST_INVALID", 400)
MANIFEST_TOO_LARGE = Code("MANIFEST_INVALID", 413)
MANIFEST_UNKNOWN = Code("MANIFEST_UNKNOWN", 404)
NAME_INVALID = Code("NAME_INVALID", 400)
NAME_UNKNOWN = Code("NAME_UNKNOWN", 404)
PAGINATION_NUMBER_INVALID = Code("PAGINATION_NUMBER_INVALID", 400)
RANGE_INVALID = Code("BLOB_UPLOAD_INVALID", 416)
SIZE_INVALID = Code("SIZE_INVALID", 400)
TOOMANYREQUESTS = Code("TOOMANYREQUESTS", 429)
UNAUTHORIZED = Code("UNAUTHORIZED", 401)
UNKNOWN = Code("UNKNOWN", 500)
UPSTREAM = Code("UNKNOWN", 502)
UNSUPPORTED = Code("UNSUPPORTED", 405)


class Refusal(SampanError):
    """An answer that is not what was asked for. `headers` go with it."""

    def __init__(self, code: Code, message: str, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.detail, self.headers = code, detail, dict(headers or {})

    def body(self) -> bytes:
        error: dict[str, Any] = {"code": self.code.name, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return msgspec.json.encode({"errors": [error]})
