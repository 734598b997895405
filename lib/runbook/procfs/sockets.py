"""Which TCP sockets listen, as /proc/net/tcp and /proc/net/tcp6 tell it."""

import ipaddress
import re

_LISTENS = "0A"
_PLACE = re.compile(r"^(?:[0-9A-F]{8}|[0-9A-F]{32}):[0-9A-F]{4}$")


def listening(text: str) -> set[tuple[str, int]]:
    """Return address and port of each socket that listens; lines that tell none are passed over.

    The kernel writes addresses as words of its own byte order: that of the far side is taken to be little-endian, as
    all that the service runs on is.
    """
    found = set()
    for line in text.splitlines():
        parts = line.split()
        if len(parts) > 3 and parts[3] == _LISTENS and _PLACE.fullmatch(parts[1]):
            address, _, port = parts[1].partition(":")
            found.add((_address(address), int(port, 16)))
    return found


def _address(words: str) -> str:
    raw = bytes.fromhex(words)
    turned = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    if len(turned) == 4:
        return str(ipaddress.IPv4Address(turned))
    return str(ipaddress.IPv6Address(turned))
