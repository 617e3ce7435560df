"""The OCI runtime: bundles, conmon, crun and runc."""

from sampan.runtime.attachment import Attachment
from sampan.runtime.bundle import Bundle
from sampan.runtime.exits import Exit
from sampan.runtime.failures import StartFailed
from sampan.runtime.service import Created, Runtime

__all__ = ["Attachment", "Bundle", "Created", "Exit", "Runtime", "StartFailed"]
