"""Builds: from a Dockerfile and a context to an image.

`Builds` is the front door (`service`). Behind it: `dockerfile` (the language), `plan`, `execution` (stages side by
side), `bases`, `copies`, `running`, `runconfig` (the instructions), `cache`, `checksums`, `sources`, `copying`,
`mounting`, `remotes`, `context` (files), `publishing` (the image), `progress` (what is told).
"""

from sampan.builds.cache import BuildCache
from sampan.builds.model import BuildOptions, StepFailed
from sampan.builds.service import Builds, Built

__all__ = ["BuildCache", "BuildOptions", "Builds", "Built", "StepFailed"]
