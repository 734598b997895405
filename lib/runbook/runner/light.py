"""papermill, without pyarrow: that it would import for a file system (HDFS) that no run is written to.

It is a seventh of the runner's imports, and a third of its memory.
"""

import sys
from importlib import import_module
from typing import Any

_HDFS = "pyarrow.fs"


def _papermill() -> Any:
    if _HDFS not in sys.modules and "papermill.iorw" not in sys.modules:
        sys.modules[_HDFS] = None  # type: ignore[assignment]  # an ImportError, which papermill expects
        try:
            import_module("papermill.iorw")
        finally:
            del sys.modules[_HDFS]
    return import_module("papermill")


papermill = _papermill()
