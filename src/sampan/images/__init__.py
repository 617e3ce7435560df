"""Images: references, content, layers, snapshots."""

from sampan.images.model import Image, ImageConfig, Platform
from sampan.images.service import Images
from sampan.images.snapshots import Snapshots

__all__ = ["Image", "ImageConfig", "Images", "Platform", "Snapshots"]
