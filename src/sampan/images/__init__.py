"""Images: references, content, layers, snapshots.

`Images` is the front door (`service`), `Snapshots` the layers and the containers' writable directories. Behind them:
`references`,
`platforms`, `manifests`, `digests`, `listing` (pure), `content`, `catalog`, `holdings` (what is here, and what must
stay), `archive`, `layers`, `diff`,
`tarwriter`, `compression` (tar in and out), `fetching`, `pulling`, `loading`, `saving`, `importing`, `removal`
(operations), `remote` (the registry client), `hello` (the image that ships inside the package).
"""

from sampan.images.model import Image, ImageConfig, Platform
from sampan.images.service import Images
from sampan.images.snapshots import Snapshots

__all__ = ["Image", "ImageConfig", "Images", "Platform", "Snapshots"]
