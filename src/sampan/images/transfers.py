"""How many layers are transferred at once, for all pulls, builds and pushes of the daemon together."""

from __future__ import annotations

import asyncio

DOWNLOADS, UPLOADS = 3, 5
"""dockerd's max-concurrent-downloads and max-concurrent-uploads."""


class Transfers:
    """Semaphores. `limit` changes them for what begins later; what is under way goes on with those it has."""

    def __init__(self) -> None:
        self.limit(DOWNLOADS, UPLOADS)

    def limit(self, downloads: int, uploads: int) -> None:
        """0: no limit."""
        self.upload_count = uploads or 1 << 30
        self.downloads = asyncio.Semaphore(downloads or 1 << 30)
        self.uploads = asyncio.Semaphore(uploads or 1 << 30)
