"""Asking the daemon to pull an image, with the person's credentials: for `pull`, `run` and `create`."""

from __future__ import annotations

from .progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from .references import Reference
    from .session import Cli


def pull(
    cli: Cli,
    reference: Reference,
    *,
    platform: str = "",
    all_tags: bool = False,
    out: TextIO | None,
    on_aux: Callable[[Any], None] | None = None,
    referrers: bool = False,
) -> None:
    """Pull and draw the progress on `out` (None: silently). Without a tag or digest the daemon takes `latest`.

    `all_tags` leaves the tag out, which the API understands as every tag of the repository.
    """
    tag = reference.digest or reference.tag or ("" if all_tags else "latest")
    auth = cli.config.registry_auth(reference.domain)
    response = cli.client.request(
        "POST",
        "/images/create",
        {
            "fromImage": reference.name,
            "tag": tag,
            "platform": platform.lower(),
            **({"referrers": "1"} if referrers else {}),
        },
        headers={"X-Registry-Auth": auth},
    )
    show(response.documents(), out, on_aux)
