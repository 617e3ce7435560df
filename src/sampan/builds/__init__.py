"""Builds: from a Dockerfile and a context to an image.

`Builds` is the front door (`service`); what it tells while it works are the events of `progress`. Behind it:
`dockerfile` (the language), `plan`, `execution` (stages side by side), `work` (what a build's steps share), `bases`,
`copies`, `running`, `runconfig` (the instructions), `cache`, `explaining` (why a step was not in it), `context`,
`indexing`, `sources`, `checksums`, `copying`, `mounting`, `remotes` (files), `publishing` (the image), `ignore`
(.dockerignore, for both ends).
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would cost the client, which imports `builds.ignore`, several milliseconds
if TYPE_CHECKING:
    from sampan.builds.cache import BuildCache
    from sampan.builds.model import BuildOptions, StepFailed
    from sampan.builds.service import Builds, Built

__all__ = ["BuildCache", "BuildOptions", "Builds", "Built", "StepFailed"]

_PLACES = {
    "BuildCache": "cache",
    "BuildOptions": "model",
    "StepFailed": "model",
    "Builds": "service",
    "Built": "service",
}


def __getattr__(name: str) -> object:
    """On demand: the client, which starts in milliseconds, imports `builds.ignore` and nothing else."""
    if name not in _PLACES:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"sampan.builds.{_PLACES[name]}"), name)
