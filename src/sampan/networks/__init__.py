"""Networks: bridge, addresses, published ports."""

from sampan.networks.model import (
    IPAM,
    Endpoint,
    EndpointRequest,
    IPAMPool,
    Network,
    PortRequest,
    PublishedPort,
    Sandbox,
)
from sampan.networks.publishing import assign
from sampan.networks.service import Networks

__all__ = [
    "IPAM",
    "Endpoint",
    "EndpointRequest",
    "IPAMPool",
    "Network",
    "Networks",
    "PortRequest",
    "PublishedPort",
    "Sandbox",
    "assign",
]
