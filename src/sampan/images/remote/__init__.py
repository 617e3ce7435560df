"""The registry client: Docker Hub and any other, over OCI distribution-spec 1.1.

`auth` (who we are: challenges, tokens) · `hosts` (where to ask: mirrors, insecure registries, certs.d) · `failures`
(what went wrong,
in Docker's words) · `client` (manifests, blobs, tags). aiohttp is imported on the first request only.
"""

from sampan.images.remote.auth import RegistryAuth
from sampan.images.remote.client import Remote, RemoteManifest, Repository

__all__ = ["RegistryAuth", "Remote", "RemoteManifest", "Repository"]
