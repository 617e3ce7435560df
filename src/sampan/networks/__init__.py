"""Networks: bridge, addresses, published ports."""

from sampan.networks.service import Endpoint, EndpointRequest, Network, Networks, PortRequest, PublishedPort, Sandbox

__all__ = ["Endpoint", "EndpointRequest", "Network", "Networks", "PortRequest", "PublishedPort", "Sandbox"]
