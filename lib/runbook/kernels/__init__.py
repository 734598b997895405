"""Fresh kernels quickly: each is forked from a process that has done the common imports already.

Three processes stand behind a kernel. The *template* imports, in one thread, and forks. A *keeper* for each kernel
takes in whatever that kernel leaves behind and ends it. The kernel itself is an ordinary ipykernel. None of them can be
reached by a name: the owner holds one end of a pair of sockets, and whatever loses its owner ends.
"""

import sys

ORDINARY, FORK = "ordinary", "fork"
# The keeper takes in what a kernel leaves behind by means that only Linux has.
DEFAULT = FORK if sys.platform == "linux" else ORDINARY
