"""What a stage begins with: an image, pulled when it is not here, another stage, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import replace
from typing import Any

from sampan.builds.model import BuildOptions, State, copied
from sampan.builds.progress import Pulled
from sampan.builds.work import Work
from sampan.containers.spec.oci import DEFAULT_PATH
from sampan.errors import NotFound
from sampan.images import Image, Platform, building, platforms, references
from sampan.images.digests import digest
from sampan.images.model import ImageConfig, RunConfig
from sampan.images.service import RegistryAuth


def scratch(platform: Platform | None) -> State:
    wanted = platform or platforms.host()
    image = ImageConfig(architecture=wanted.architecture, os=wanted.os or "linux", variant=wanted.variant)
    config = RunConfig(working_dir="/")
    return State(key=digest(f"scratch {platforms.text(wanted)}".encode()), image=image, config=config)


def with_path(state: State) -> State:
    """Both of Docker's builders give an image without PATH the default one."""
    if "PATH" in state.env or state.image.os == "windows":
        return state
    config = copied(state.config)
    config.env = [*(config.env or ()), f"PATH={DEFAULT_PATH}"]
    return replace(state, config=config)


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
    asked = (name, platforms.text(wanted) if wanted else "")
    pulled = work.pulled.setdefault(asked, asyncio.Lock())
    async with pulled:
        image = None
        fresh = asked in work.fresh
        if not work.options.pull or fresh:
            with contextlib.suppress(NotFound):
                image = _here(work, name, wanted)
        if image is None:
            image = await _pulled(work, name, wanted, step)
            work.fresh.add(asked)
    work.materials[name] = image.manifest_digest
    catalog = work.services.holdings.catalog
    images.used(image.id)
    work.lease.hold(*catalog.blobs_of(image.id, catalog.images[image.id]), *catalog.chain(image.id))
    return image


def _here(work: Work, name: str, wanted: Platform | None) -> Image:
    """Raises `NotFound`."""
    images = work.services.images
    try:
        return images.resolve(name, wanted)
    except NotFound:
        if wanted is None or (id := images.beside(name, wanted)) is None:
            raise
        return images.resolve(id)


async def _pulled(work: Work, name: str, wanted: Platform | None, step: int) -> Image:
    """A name that stands for another platform's image here is left alone."""
    images = work.services.images
    reference = references.parse(name).tagged()
    auth = auth_for(work.options, reference.domain)

    def tell(message: dict[str, Any]) -> None:
        work.emit(Pulled(step=step, message=message))

    several = len(work.options.platforms) > 1 and wanted != platforms.host()
    if wanted is not None and (several or _is_another(work, name, wanted)):
        id = await images.pull_beside(reference, wanted, auth, tell)
        image = images.resolve(id)
        work.services.holdings.catalog.require_platform(reference.familiar, id, wanted)
        return image
    await images.pull(reference.familiar, wanted, auth, tell)
    return images.resolve(name, wanted)


def _is_another(work: Work, name: str, wanted: Platform) -> bool:
    try:
        config = work.services.images.resolve(name).config
    except NotFound:
        return False
    own = Platform(os=config.os, architecture=config.architecture, variant=config.variant)
    return not platforms.matches(own, wanted)


def auth_for(options: BuildOptions, domain: str) -> RegistryAuth | None:
    """The credentials that a client gave for a registry."""
    names = ("https://index.docker.io/v1/", "index.docker.io", "docker.io") if domain == "docker.io" else (domain,)
    for name in names:
        if (found := options.auths.get(name)) is not None:
            return found
    return next((auth for name, auth in options.auths.items() if name.split("://")[-1].split("/")[0] == domain), None)
