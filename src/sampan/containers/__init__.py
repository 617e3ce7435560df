"""Containers and their whole life."""

from sampan.containers.service import AttachOptions, Containers, Created, LogOptions

__all__ = ["AttachOptions", "Containers", "Created", "LogOptions"]
