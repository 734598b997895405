"""What else explains that a question on files could not be answered."""

EXPLAINED_BY = {"integrity.baseline": "there is no baseline that could be compared with"}
