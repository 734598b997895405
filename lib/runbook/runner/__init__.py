"""The parent's side of a run: start the notebook headless, hear its findings, write what may be written."""
