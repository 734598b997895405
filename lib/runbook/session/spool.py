"""Keep the data behind a table or plot where the runner collects it."""

import hashlib
import io
import json
import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.model.protocol import DataFile

if TYPE_CHECKING:
    import pandas as pd

_numbers = count(1)


def keep_frame(name: str, frame: "pd.DataFrame") -> DataFile | None:
    """Write a scrubbed frame as Parquet into the folder RUNBOOK_SPOOL and return its name, digest and size.

    Returns None where no runner collects data, or the folder cannot be written: an answer is worth more than its copy.
    """
    spool = os.environ.get("RUNBOOK_SPOOL")
    if not spool:
        return None
    file = f"{next(_numbers):03d}-{name}.parquet"
    try:
        content = _as_parquet(frame)
        Path(spool, file).write_bytes(content)
    except (OSError, ValueError, TypeError, ArithmeticError):  # pyarrow's own errors are among them
        return None
    return DataFile(
        file=file, sha256=hashlib.sha256(content).hexdigest(), rows=len(frame), columns=list(map(str, frame.columns))
    )


def _as_parquet(frame: "pd.DataFrame") -> bytes:
    import pyarrow as pa

    # What a frame says of itself is kept as JSON: a moment in it as its text, and no warning among what is shown.
    attrs = json.loads(json.dumps(frame.attrs, default=str, skipkeys=True))
    frame = frame.copy(deep=False)
    frame.attrs = attrs
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer, index=False)
    except (pa.ArrowException, OverflowError):
        # A column of mixed, nested or huge values, as JSON of a service may give: its text is kept.
        buffer = io.BytesIO()
        texts = [column for column in frame.columns if frame[column].dtype == object]
        frame.assign(**{column: frame[column].map(str, na_action="ignore") for column in texts}).to_parquet(
            buffer, index=False
        )
    return buffer.getvalue()
