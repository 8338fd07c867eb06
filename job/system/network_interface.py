"""The network interface of the route to a host: `python -m job.system.network_interface HOST` prints its name."""

import socket
import sys

import psutil


def interface_towards(host: str) -> str:
    """Return the interface of the route to `host`. Raises OSError when it has no address or no route leads there."""
    family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing: the kernel only picks the route
        own = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(entry.family == family and entry.address.partition("%")[0] == own for entry in addresses):
            return name
    raise OSError(f"no interface has the address {own}")


if __name__ == "__main__":
    try:
        print(interface_towards(sys.argv[1]))
    except OSError as error:
        sys.exit(f"error: no interface leads to {sys.argv[1]} ({error}): set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME")
