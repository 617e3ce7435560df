"""The OCI runtime: bundles, conmon, crun and runc."""

from sampan.runtime.bundle import Bundle
from sampan.runtime.service import Attachment, Created, Exit, Runtime

__all__ = ["Attachment", "Bundle", "Created", "Exit", "Runtime"]
