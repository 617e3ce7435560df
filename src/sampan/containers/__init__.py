"""Containers and their whole life."""

from sampan.containers.attaching import AttachOptions
from sampan.containers.logs.log_reading import LogOptions
from sampan.containers.service import Containers, Created

__all__ = ["AttachOptions", "Containers", "Created", "LogOptions"]
