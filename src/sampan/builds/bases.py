"""What a stage begins with: an image, pulled when it is not here, another stage, or nothing."""

from __future__ import annotations

import asyncio
import functools

from sampan.builds.model import BuildOptions, State, copied
from sampan.builds.progress import Pulled
from sampan.builds.work import Work
from sampan.errors import NotFound
from sampan.images import Image, Platform, building, platforms, references
from sampan.images.digests import digest
from sampan.images.model import ImageConfig
from sampan.images.service import RegistryAuth


def scratch(platform: Platform | None) -> State:
    wanted = platform or platforms.host()
    image = ImageConfig(architecture=wanted.architecture, os=wanted.os or "linux", variant=wanted.variant)
    return State(key=digest(f"scratch {platforms.text(wanted)}".encode()), image=image)


async def image_state(work: Work, image: Image) -> State:
    """A stage that begins with `image`."""
    holdings = work.services.holdings
    layers = tuple(await work.thread(functools.partial(building.layers_of, holdings, image.id)))
    return State(
        key=image.id,
        base=image.id,
        config=copied(image.config.config),
        image=image.config,
        layers=layers,
        base_layers=len(layers),
        history=tuple(image.config.history),
        author=image.config.author,
        created=image.config.created,
    )


async def find(work: Work, name: str, platform: Platform | None, step: int) -> Image:
    """The image, from here or its registry; its things stay for as long as the build takes."""
    images = work.services.images
    wanted = platform or work.options.platform
    pulled = work.pulled.setdefault((name, platforms.text(wanted) if wanted else ""), asyncio.Lock())
    async with pulled:
        image = None
        fresh = (name, wanted) in work.fresh
        if not work.options.pull or fresh:
            try:
                image = images.resolve(name, wanted)
            except NotFound:
                if fresh:
                    raise
        if image is None:
            reference = references.parse(name).tagged()
            await images.pull(
                reference.familiar,
                wanted,
                auth_for(work.options, reference.domain),
                lambda message: work.emit(Pulled(step=step, message=message)),
            )
            image = images.resolve(name, wanted)
            work.fresh.add((name, wanted))
    catalog = work.services.holdings.catalog
    images.used(image.id)
    work.lease.hold(*catalog.blobs_of(image.id, catalog.images[image.id]), *catalog.chain(image.id))
    return image


def auth_for(options: BuildOptions, domain: str) -> RegistryAuth | None:
    """The credentials that a client gave for a registry."""
    names = ("https://index.docker.io/v1/", "index.docker.io", "docker.io") if domain == "docker.io" else (domain,)
    for name in names:
        if (found := options.auths.get(name)) is not None:
            return found
    return next((auth for name, auth in options.auths.items() if name.split("://")[-1].split("/")[0] == domain), None)
