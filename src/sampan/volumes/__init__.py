"""Volumes: data that outlives containers."""

from sampan.volumes.service import Volume, Volumes

__all__ = ["Volume", "Volumes"]
