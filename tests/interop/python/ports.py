"""Ports that nobody else takes."""

import random
import socket


def free(count: int) -> list[int]:
    """Ports below the range from which the kernel gives them to others
    (32768 and up on Linux), so that nobody takes one before it is bound."""
    probes, ports = [], []
    try:
        while len(ports) < count:
            probe = socket.socket()
            probes.append(probe)
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 30_000)))
            except OSError:
                continue
            ports.append(probe.getsockname()[1])
    finally:
        for probe in probes:
            probe.close()
    return ports
