"""Named contexts that are neither images nor the client's directories: repositories, URLs, OCI layouts.

Source: BuildKit frontend/dockerui/namedcontext.go: a URL that is no repository is that one file.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sampan.builds import remotes
from sampan.builds.context import Context
from sampan.builds.model import State, copied
from sampan.builds.sharing.receiving import Layout
from sampan.builds.work import Work
from sampan.errors import InvalidParameter, SampanError
from sampan.images import manifests, platforms
from sampan.images.building import SealedLayer
from sampan.images.digests import chain_ids
from sampan.images.fetching import Wanted
from sampan.images.manifests import Index
from sampan.images.model import Platform
from sampan.images.progress import LayerProgress

LAYOUT = "oci-layout:"
"""`oci-layout:contexts/0#TAG`, or `#sha256:…`: a layout's directory below the build's context."""


async def fetched(work: Work, place: str) -> Path:
    """The files of a repository or URL; fetched once a build."""
    lock = work.pulled.setdefault((place, ""), asyncio.Lock())
    async with lock:
        if place not in work.named:
            context = work.services.contexts.new("remote")
            work.stack.callback(context.close)
            await _fetch(work, place, context)
            work.named[place] = context.root
        return work.named[place]


async def _fetch(work: Work, place: str, context: Context) -> None:
    remote = remotes.context(place)
    if isinstance(remote, remotes.Git):
        ask = work.options.ssh.get("default")
        await remotes.clone(remote, context.root, keep_git_dir=False, ask=ask)
    elif isinstance(remote, remotes.Url):
        name = await remotes.download(remote.url, context.root, fallback="index")
        os.utime(context.root, (0, 0))
        await asyncio.to_thread((context.root / name).chmod, 0o600)
    else:
        raise InvalidParameter(f"unsupported context source {place}")


def is_remote(place: str) -> bool:
    return place.startswith(("http://", "https://", "git://", "git@", "ssh://", "github.com/"))


async def layout_state(work: Work, given: str, platform: Platform | None) -> State:
    """A stage that begins with an image of a layout. It gets no name here, and its layers stay as what is built on it
    needs them."""
    assert work.context is not None
    directory, _, version = given.removeprefix(LAYOUT).partition("#")
    layout = Layout(work.context.beside(directory))
    wanted = platform or work.options.platform or platforms.host()
    holdings = work.services.holdings
    top = version if version.startswith("sha256:") else await asyncio.to_thread(layout.listed, version)
    document = manifests.decode(await asyncio.to_thread(layout.blob_now, top), "", given)
    for _ in range(3):
        if isinstance(document, Index):
            top = manifests.select(document, wanted).digest
            document = manifests.decode(await asyncio.to_thread(layout.blob_now, top), "", given)
    if isinstance(document, Index):
        raise SampanError(f"{given}: indexes are nested too deeply")
    config = manifests.decode_config(await asyncio.to_thread(layout.blob_now, document.config.digest), given)
    described = manifests.image_layers(document, given)
    chain = chain_ids(config.rootfs.diff_ids)
    if len(described) != len(chain):
        raise SampanError(f"{given}: its layers do not fit its config")
    layers: list[SealedLayer] = []
    for position, (layer, diff_id) in enumerate(zip(described, config.rootfs.diff_ids, strict=True)):
        work.lease.hold(layer.digest, chain[position])
        below = chain[position - 1] if position else None
        line = LayerProgress(lambda message: None, layer.digest)
        await work.services.fetcher.layer(layout, Wanted(layer, diff_id, chain[position], below), line)
        size = holdings.snapshots.layer_size(chain[position])
        layers.append(SealedLayer(layer.digest, diff_id, layer.media_type, chain[position], size))
    work.materials[f"oci-layout/{top.partition(':')[2][:12]}"] = top
    return State(
        key=document.config.digest,
        config=copied(config.config),
        image=config,
        layers=tuple(layers),
        base_layers=len(layers),
        history=tuple(config.history),
        author=config.author,
        created=config.created,
    )
