"""What a registry answers when it does not give what was asked, in the words of `docker pull` and `docker push`."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from sampan.errors import NotFound, SampanError, TooManyRequests
from sampan.images.references import Reference
from sampan.images.remote.auth import challenges


class _Error(msgspec.Struct):
    code: str = ""
    message: str | None = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []
    details: str = ""


class RegistryError(SampanError):
    """A registry's refusal: `code` is the distribution-spec's (MANIFEST_UNKNOWN, DENIED …), "" when it gave none."""

    def __init__(self, code: str, message: str, http_status: int) -> None:
        super().__init__(message)
        self.code, self.http_status = code, http_status


def from_response(status: int, body: bytes, headers: list[str]) -> RegistryError:
    """The first error of a response. `headers` are its `WWW-Authenticate` values, which say more than a 401's body."""
    code, message = "", ""
    for scheme, parameters in challenges(headers):
        known = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}.get(parameters.get("error", ""))
        if scheme == "bearer" and known:
            code = known
            message = parameters.get("error_description", "") or _STANDARD[code]
    if not code:
        code, message = _from_body(body)
    if not code and status in _BY_STATUS:
        code = _BY_STATUS[status]
        message = message or _STANDARD[code]
    if code:
        return RegistryError(
            code, f"{code.replace('_', ' ').lower()}: {message or _STANDARD.get(code, 'unknown error')}", status
        )
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return RegistryError("", f"received unexpected HTTP status: {status} {phrase}".rstrip(), status)


def _from_body(body: bytes) -> tuple[str, str]:
    try:
        decoded = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", ""
    if decoded.errors:
        first = decoded.errors[0]
        return first.code.upper()[:64], (first.message or "")[:1000]
    return "", decoded.details[:1000]


_STANDARD = {
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "TOOMANYREQUESTS": "too many requests",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "NAME_UNKNOWN": "repository name not known to registry",
    "BLOB_UNKNOWN": "blob unknown to registry",
}
_BY_STATUS = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}


def on_pull(error: RegistryError, reference: Reference) -> SampanError:
    """What the user is told about a failed pull (distribution's translatePullError)."""
    name = reference.familiar_name
    if error.code == "DENIED":
        return NotFound(
            f"pull access denied for {name}, repository does not exist or may require 'docker login': {error.message}"
        )
    if error.code == "MANIFEST_UNKNOWN" or (error.http_status == 404 and not error.code):
        cause = error.message if error.code else "manifest unknown: manifest unknown"
        return NotFound(f"manifest for {reference.familiar} not found: {cause}")
    if error.code == "NAME_UNKNOWN":
        return NotFound(f"repository {name} not found: {error.message}")
    if error.code == "TOOMANYREQUESTS":
        return TooManyRequests(error.message)
    return error


def on_connection(error: BaseException, url: str) -> SampanError:
    """A request that got no answer, worded as Go's net/http does. `url` is what was asked."""
    import socket
    import ssl

    from aiohttp import (
        ClientConnectorCertificateError,
        ClientConnectorDNSError,
        ClientConnectorError,
        ClientSSLError,
        ServerTimeoutError,
    )

    asked = f'Get "{url}"'
    if isinstance(error, ClientConnectorCertificateError):
        reason = error.certificate_error
        detail = getattr(reason, "verify_message", "") or str(reason)
        known = {
            "self-signed certificate": "x509: certificate signed by unknown authority",
            "self-signed certificate in certificate chain": "x509: certificate signed by unknown authority",
            "unable to get local issuer certificate": "x509: certificate signed by unknown authority",
            "certificate has expired": "x509: certificate has expired or is not yet valid",
            "certificate is not yet valid": "x509: certificate has expired or is not yet valid",
        }
        return SampanError(f"{asked}: tls: failed to verify certificate: {known.get(detail, f'x509: {detail}')}")
    if isinstance(error, ClientConnectorDNSError):
        return SampanError(f"{asked}: dial tcp: lookup {error.host}: no such host")
    if isinstance(error, ClientSSLError):
        inner = error.os_error
        if isinstance(inner, ssl.SSLError) and inner.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
        ):
            return SampanError(f"{asked}: http: server gave HTTP response to HTTPS client")
        return SampanError(f"{asked}: tls: {getattr(inner, 'reason', None) or inner}")
    if isinstance(error, ClientConnectorError):
        cause = error.os_error
        text = {
            111: "connection refused",
            113: "no route to host",
            101: "network is unreachable",
            110: "i/o timeout",
        }.get(cause.errno or 0, str(cause.strerror or cause).lower())
        return SampanError(f"{asked}: dial tcp {error.host}:{error.port}: connect: {text}")
    if isinstance(error, ServerTimeoutError | TimeoutError | socket.timeout):
        return SampanError(f"{asked}: net/http: request canceled (timeout exceeded while awaiting headers)")
    if isinstance(error, OSError) and error.strerror:
        return SampanError(f"{asked}: {error.strerror.lower()}")
    return SampanError(f"{asked}: {str(error) or 'EOF'}")
