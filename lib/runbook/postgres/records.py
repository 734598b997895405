"""Rows of a frame as plain data."""

from typing import Any

import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame by their columns' names; what is null is None, whatever the column's type.

    A NaN, which is what pandas makes of a null among texts, would pass for a text that is there.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
