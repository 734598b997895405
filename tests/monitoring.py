"""Real Prometheus servers and Alertmanagers of a test's own, with a past by promtool and targets that it serves."""

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import wait_for


@dataclass
class Running:
    """A Prometheus that runs."""

    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def reload(self) -> None:
        """Have it read its files anew."""
        httpx.post(f"{self.url}/-/reload", trust_env=False).raise_for_status()

    def ask(self, query: str) -> list[Any]:
        """Return the result of an instant query, as Prometheus gives it."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, trust_env=False)
        result: list[Any] = answer.json()["data"]["result"]
        return result


def require(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def free_port() -> int:
    """Return a port on loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


@contextmanager
def prometheus(
    folder: Path,
    *,
    past: str = "",
    jobs: Mapping[str, Sequence[str]] | None = None,
    paths: Mapping[str, str] | None = None,
    interval: str = "1s",
    rules: str = "",
    web_config: str = "",
    more: str = "",
    options: Sequence[str] = (),
) -> Iterator[Running]:
    """Run a Prometheus on loopback while the block lasts.

    ``past`` are samples in OpenMetrics text, loaded by promtool; ``jobs`` the addresses to scrape by job, each at
    ``paths`` (/metrics where none is given); ``rules`` and ``web_config`` the text of these files; ``more`` goes to the
    end of the configuration, ``options`` to that of the command.
    """
    require("prometheus", "promtool")
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    if past:
        (folder / "past.om").write_text(past if past.rstrip().endswith("# EOF") else f"{past.rstrip()}\n# EOF\n")
        argv = ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "past.om", data]
        made = subprocess.run(argv, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
    config = [f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}"]
    if rules:
        (folder / "rules.yml").write_text(rules)
        config.append("rule_files: [rules.yml]")
    config.append("scrape_configs:")
    for job, addresses in (jobs or {}).items():
        config.append(f"- job_name: {job}")
        config.append(f"  metrics_path: {(paths or {}).get(job, '/metrics')}")
        config.append(f"  static_configs: [{{targets: {list(addresses)}}}]")
    (folder / "prometheus.yml").write_text("\n".join([*config, more]) + "\n")
    port = free_port()
    argv = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle", "--storage.tsdb.retention.time=10y",
        "--log.level=warn", *options,
    ]  # fmt: skip
    if web_config:
        (folder / "web.yml").write_text(web_config)
        argv.append(f"--web.config.file={folder}/web.yml")
    with _serves(argv, port, folder / "log") as (url, process):
        yield Running(url, folder, process)


@contextmanager
def alertmanager(folder: Path, config: str = "") -> Iterator[str]:
    """Run an Alertmanager on loopback while the block lasts, by default one that tells nobody; gives its address."""
    require("prometheus-alertmanager")
    folder.mkdir(parents=True, exist_ok=True)
    nobody = "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n"
    (folder / "am.yml").write_text(config or nobody)
    port = free_port()
    argv = [
        "prometheus-alertmanager", f"--config.file={folder}/am.yml", f"--storage.path={folder}/am",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with _serves(argv, port, folder / "am.log") as (url, _):
        yield url


@contextmanager
def _serves(argv: Sequence[str], port: int, log: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as written, subprocess.Popen(argv, stdout=written, stderr=written) as process:
        try:
            wait_for(lambda: answers(url))
            yield url, process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(url: str) -> bool:
    """Tell whether a server is ready; one that wants a log-in is."""
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False, timeout=2).status_code in (200, 401)
    except httpx.HTTPError:
        return False


def line(name: str, labels: Mapping[str, str], value: float, at: datetime) -> str:
    """Return one sample in OpenMetrics text."""
    told = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{told}}} {value!r} {at.timestamp():.3f}"


def escaped(text: str) -> str:
    """Return a label's value as it is written between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass
class Served:
    """An HTTP server of a test: what it answers by path, and what it was asked."""

    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answer: Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes] | None] = lambda path, headers: None


@contextmanager
def serving(
    answer: Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes] | None],
    tls: ssl.SSLContext | None = None,
) -> Iterator[Served]:
    """Serve on loopback what a function gives for a path and headers: status, headers and body; None hangs up."""
    served = Served(answer=answer)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            served.asked.append((self.path, headers))
            given = served.answer(self.path, headers)
            if given is None:
                self.close_connection = True
                return
            status, told, body = given
            self.send_response_only(status)
            if "Date" not in told:
                self.send_header("Date", self.date_time_string())
            for key, value in {"Content-Length": str(len(body)), **told}.items():
                self.send_header(key, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        do_OPTIONS = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *_: Any) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    served.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
