"""A worker process: reads the parts that its parent names, and answers with all that it counted.

On stdin come, as msgpack, the job and then one task after another, each acknowledged on stdout; an empty message
ends it and is answered with the reading.
"""

import gc
import os
import sys

import msgspec

from runbook.logfiles.frames import receive, send
from runbook.logfiles.reader import Job, Reader, Task


def main() -> None:
    """Work until the parent ends it or has gone."""
    gc.disable()  # entries hold no circles, and there are millions of them
    requests, answers = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    try:
        reader = Reader(msgspec.msgpack.decode(receive(requests), type=Job))
        while task := receive(requests):
            reader.read(msgspec.msgpack.decode(task, type=Task))
            send(answers, b"\x01")
        send(answers, msgspec.msgpack.encode(reader.done()))
    except (EOFError, BrokenPipeError):
        sys.exit(1)


if __name__ == "__main__":
    main()
