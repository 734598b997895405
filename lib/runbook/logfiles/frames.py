"""Messages between a process and its workers: a length of four bytes, then the content."""

from typing import IO


def send(stream: IO[bytes], content: bytes) -> None:
    """Write one frame."""
    stream.write(len(content).to_bytes(4, "big") + content)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """Return the next frame's content; raises EOFError where the other side has gone."""
    head = stream.read(4)
    content = stream.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
    if len(head) < 4 or len(content) < int.from_bytes(head, "big"):
        raise EOFError
    return content
