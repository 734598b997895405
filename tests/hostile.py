"""Texts that try to run, load or change something when a page shows them, and a browser that tells whether they did."""

import html.parser
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# What each payload does when it runs: it marks the page and asks the canary.
_DO = "document.documentElement.dataset.ran=1;new Image().src='{canary}/ran'"

_PAYLOADS = (
    "<script>{do}</script>",
    "<ScRiPt src={canary}/script.js></sCrIpT>",
    "</script><script>{do}</script>",
    "</style><script>{do}</script>",
    "</title><script>{do}</script>",
    "</pre></div></details><script>{do}</script>",
    '"><script>{do}</script>',
    "' autofocus onfocus=\"{do}\" x='",
    '<img src=x onerror="{do}">',
    "<img src={canary}/picture.png>",
    '<img srcset="{canary}/set.png 1x">',
    '<svg onload="{do}">',
    "<svg><script>{do}</script></svg>",
    '<svg><animate onbegin="{do}" attributeName=x dur=1s>',
    "<svg><use href='data:image/svg+xml,<svg id=x onload=\"{do}\"/>#x'></svg>",
    "<svg><image href='{canary}/svg.png'></svg>",
    '<body onload="{do}">',
    '<input autofocus onfocus="{do}">',
    '<details open ontoggle="{do}"><summary>x</summary></details>',
    '<video><source onerror="{do}"></video>',
    "<audio src={canary}/sound autoplay onerror='{do}'>",
    "<marquee onstart='{do}'>x</marquee>",
    "<iframe srcdoc='<script>parent.document.documentElement.dataset.ran=1</script>'></iframe>",
    "<iframe src='javascript:{do}'></iframe>",
    "<iframe src={canary}/frame></iframe>",
    "<object data={canary}/object></object>",
    "<embed src={canary}/embed>",
    "<base href={canary}/base/>",
    "<link rel=stylesheet href={canary}/style.css>",
    "<link rel=preload as=image href={canary}/preload.png>",
    "<meta http-equiv=refresh content='0;url={canary}/refresh'>",
    "<style>@import '{canary}/import.css'; body{{background:url({canary}/css.png)}}</style>",
    '<p style="background:url({canary}/inline.png)">x</p>',
    '<p style="width:expression({do})">x</p>',
    "<table background={canary}/table.png><tr><td>x</td></tr></table>",
    '<form action={canary}/form><button autofocus formaction="javascript:{do}">x</button></form>',
    '<a href="javascript:{do}">x</a>',
    '<a href="java\tscript:{do}">x</a>',
    '<a href="&#106;avascript:{do}">x</a>',
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    "[x](javascript:{do})",
    "![x]({canary}/markdown.png)",
    '![x](x" onerror="{do})',
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror={do}&gt;'>",
    '<math href="javascript:{do}">x</math>',
    "<noscript><p title='</noscript><img src=x onerror=\"{do}\">'>",
    "<svg></p><style><a id='</style><img src=x onerror=\"{do}\">'>",
    "<textarea><img title='</textarea><img src=x onerror=\"{do}\">'>",
    "<template><img src=x onerror='{do}'></template>",
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror='{do}'>",
    "<!--><img src=x onerror='{do}'>-->",
    "<![CDATA[><img src=x onerror='{do}'>]]>",
    "<sc\x00ript>{do}</script>",
    "\\u003cscript\\u003e{do}\\u003c/script\\u003e",
    "&lt;script&gt;{do}&lt;/script&gt;",
    "$\\href{{javascript:{do}}}{{x}}$ \\(\\unicode{{<img src=x onerror='{do}'>}}\\)",
    "{{{{ cycler.__init__.__globals__ }}}} {{% raw %}} ${{alert(1)}}",
    "\u202e<script>{do}</script>\u2066",
    "\x1b]8;;javascript:{do}\x07x\x1b]8;;\x07",
    "<x-a onclick={do} tabindex=1 autofocus onfocus='{do}'>",
    "<p class='verdict OK' id=filter name=filter>all is well</p>",
)


def payloads(canary: str) -> list[str]:
    """Return every payload, aimed at a canary's address."""
    do = _DO.format(canary=canary)
    return [payload.format(do=do, canary=canary) for payload in _PAYLOADS]


class Canary:
    """A server on loopback that nothing may ask."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""


@contextmanager
def canary() -> Iterator[Canary]:
    """Serve a canary for as long as the context lasts."""
    told = Canary()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()


class Browser:
    """The real Chromium, without a window."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder

    def dom(self, page: Path, fragment: str = "") -> str:
        """Return the document as it stands after the page was loaded and its scripts, if any, had time to run."""
        options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        options += " --disable-component-update --disable-sync --virtual-time-budget=3000"
        ended = subprocess.run(
            [
                self._program,
                *options.split(),
                f"--user-data-dir={self._folder}",
                "--dump-dom",
                page.as_uri() + fragment,
            ],
            capture_output=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert ended.stdout, ended.stderr[-2000:]
        return ended.stdout.decode(errors="replace")


def find_browser(folder: Path) -> Browser:
    """Return a browser whose own files lie in a folder; skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    return Browser(program, folder)


def ran(dom: str) -> bool:
    """Tell whether a payload marked the page."""
    return re.search(r"<html[^>]*data-ran", dom) is not None


def without_policy(page: bytes) -> bytes:
    """Return a page without its Content-Security-Policy: the sanitizer then stands alone."""
    bare, count = re.subn(rb"<meta http-equiv=.Content-Security-Policy.[^>]*>", b"", page)
    assert count == 1
    return bare


def elements_of(dom: str) -> list[tuple[str, dict[str, str]]]:
    """Return the name and the attributes of every element of a document as a browser wrote it down."""
    found: list[tuple[str, dict[str, str]]] = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, {name: value or "" for name, value in attrs}))

    Parser().feed(dom)
    return found
