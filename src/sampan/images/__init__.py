"""Images: references, content, layers, snapshots.

`Images` is the front door (`service`), `Snapshots` the layers and the containers' writable directories. Behind them:

- what things are, pure: `references`, `platforms`, `manifests`, `digests`, `model`, `listing`;
- what is here, and what must stay: `content` (blobs), `catalog`, `holdings`, `usage`, `variants`;
- layers in and out: `layers`, `diff`, `tar`, `compression`, `compressing`, `pipe`;
- operations: `pulling` and `pushing` (with `fetching`, `referring`, `transfers`), `loading` and `saving`, `importing`,
  `building`, `converting`, `removal`, `expiry`; `hello` is the image that ships inside the package;
- `remote`: the registry client.
"""

from sampan.images.model import Image, ImageConfig, Platform
from sampan.images.service import Images
from sampan.images.snapshots import Snapshots

__all__ = ["Image", "ImageConfig", "Images", "Platform", "Snapshots"]
