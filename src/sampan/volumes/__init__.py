"""Volumes: data that outlives containers."""

from sampan.volumes.model import Volume
from sampan.volumes.service import Volumes

__all__ = ["Volume", "Volumes"]
