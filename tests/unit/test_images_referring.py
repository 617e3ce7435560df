"""Referrers that are pulled by two at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sampan.images import referring
from sampan.images.content import ContentStore, IngestBusy
from sampan.images.digests import digest
from sampan.images.manifests import Descriptor

DATA = b"signature"


class Slow:
    """A repository whose blob comes when `go` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def blob(self, blob: Descriptor, offset: int) -> AsyncIterator[bytes]:
        self.asked += 1
        await self.go.wait()
        yield DATA


async def test_a_blob_that_is_coming_already_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referring, "_AGAIN", 0.001)
    content, repository = ContentStore(tmp_path), Slow()
    blob = Descriptor(media_type="x", digest=digest(DATA), size=len(DATA))
    holdings = cast("Any", SimpleNamespace(content=content))
    two = [asyncio.ensure_future(referring._blob(cast("Any", repository), blob, holdings)) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(IngestBusy, match=f"blob {blob.digest} is being fetched by another operation"):
        content.ingest(blob.digest)
    repository.go.set()
    await asyncio.gather(*two)
    assert content.read(blob.digest) == DATA and repository.asked == 1
