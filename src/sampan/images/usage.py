"""What images take on the disk: unpacked layers, and the blobs that are kept beside them (`system df`, `image prune`).

Unlike the size in `images`, which is that of the unpacked files as in Docker's default store, this counts everything
once: an image's own share is what its removal would give back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sampan.images.holdings import Holdings

Item = tuple[str, str]
"""A layer's chainID or a blob's digest, with its kind: a bottom layer's chainID may be a blob's digest too."""


@dataclass(frozen=True, slots=True)
class Usage:
    total: int
    """Bytes of everything, each thing once."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Image id: (bytes of all it needs, bytes of what other images need too)."""


def items(holdings: Holdings, id: str) -> dict[Item, int]:
    """All that an image and its names need, with bytes. Looks at each blob's file."""
    catalog, content = holdings.catalog, holdings.content
    record = catalog.images[id]
    found: dict[Item, int] = {
        ("layer", link): size for link, size in zip(catalog.chain(id), record.layer_sizes, strict=False)
    }
    blobs = catalog.blobs_of(id, record)
    blobs |= {catalog.references[name.key()].target for name in catalog.names(id) if name.key() in catalog.references}
    for digest in blobs:
        found["blob", digest] = content.stored(digest)
    return found


def everything(holdings: Holdings) -> dict[str, dict[Item, int]]:
    """Image id: `items`. Blocks."""
    found = {}
    for id in list(holdings.catalog.images):
        try:
            found[id] = items(holdings, id)
        except KeyError:  # removed just now
            continue
    return found


def usage(holdings: Holdings) -> Usage:
    """Blocks: looks at each blob's file."""
    found = everything(holdings)
    users = Counter(item for needed in found.values() for item in needed)
    total = {item: size for needed in found.values() for item, size in needed.items()}
    return Usage(
        sum(total.values()),
        {
            id: (sum(needed.values()), sum(size for item, size in needed.items() if users[item] > 1))
            for id, needed in found.items()
        },
    )


def given_back(holdings: Holdings, before: dict[Item, int]) -> int:
    """Bytes of the items that are gone."""

    def is_there(item: Item) -> bool:
        kind, digest = item
        return holdings.snapshots.has_layer(digest) if kind == "layer" else holdings.content.exists(digest)

    return sum(size for item, size in before.items() if not is_there(item))
