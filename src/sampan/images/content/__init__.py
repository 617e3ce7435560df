"""Blobs by digest: `store` (with the words and the layout), `durability` (what a power cut may do), `folding` and
`recipes` (blobs that are made again from their unpacked layers)."""

from sampan.images.content import durability
from sampan.images.content.store import (
    CHUNK,
    ContentStore,
    DigestMismatch,
    DiskFull,
    Ingest,
    IngestBusy,
    hex_of,
)

__all__ = ["CHUNK", "ContentStore", "DigestMismatch", "DiskFull", "Ingest", "IngestBusy", "durability", "hex_of"]
