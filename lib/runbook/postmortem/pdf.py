"""A page as PDF, printed by Chromium where there is one."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
SECONDS = 90.0
# Nothing but the one file: no profile of the user, no network, no updates.
_OPTIONS = (
    "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-extensions --no-pdf-header-footer"
)


def printer() -> str | None:
    """Return the program that prints pages; None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def printed(page: bytes) -> tuple[bytes, str]:
    """Return a page as PDF, and "" or why there is none."""
    program = printer()
    if program is None:
        return b"", "there is no Chromium on this machine"
    with tempfile.TemporaryDirectory(prefix="rb-pdf-") as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.pdf")
        source.write_bytes(page)
        options = [*_options(), f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri()]
        try:
            ended = subprocess.run(
                [program, *options],
                capture_output=True,
                timeout=SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
                cwd=folder,
            )
            content = target.read_bytes()
        except subprocess.TimeoutExpired:
            return b"", f"Chromium did not end within {SECONDS:g} s"
        except OSError as error:
            return b"", f"Chromium printed nothing ({error.strerror})"
        if ended.returncode or not content.startswith(b"%PDF"):
            return b"", f"Chromium printed no PDF (exit status {ended.returncode})"
        return content, ""


def _options() -> list[str]:
    # Chromium refuses its sandbox to root; what it is shown has no script, and its policy lets it load nothing.
    return [
        *_OPTIONS.split(),
        "--host-resolver-rules=MAP * ~NOTFOUND",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
