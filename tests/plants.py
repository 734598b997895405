"""Secrets of every kind, planted in every form and place where a run could leave them, from a seed."""

import base64
import html
import json
import random
import string
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

WORDS = string.ascii_letters + string.digits
SAFE = WORDS + "_-"


@dataclass(frozen=True)
class Plant:
    """A secret in the text that gives it away; ``known`` where the target's profile refers to it."""

    kind: str
    value: str
    text: str
    known: bool = False


Maker = Callable[[random.Random], tuple[str, str]]


def _word(dice: random.Random, length: int, alphabet: str = WORDS) -> str:
    # A letter and a digit at least, as any password policy asks for.
    return dice.choice(string.ascii_letters) + "".join(dice.choices(alphabet, k=length - 2)) + dice.choice("23456789")


def _base64(dice: random.Random, length: int) -> str:
    return base64.b64encode(dice.randbytes(length)).decode()


def _in(form: str, length: int = 14, alphabet: str = WORDS) -> Maker:
    def make(dice: random.Random) -> tuple[str, str]:
        value = _word(dice, length, alphabet)
        return value, form.replace("@@", value)

    return make


def _jwt(dice: random.Random) -> tuple[str, str]:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": "admin", "exp": dice.randrange(10**9)}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    token = ".".join([*encoded, _word(dice, 43, SAFE)])
    return token, f"logged in with {token} at noon"


def _basic(dice: random.Random) -> tuple[str, str]:
    value = base64.b64encode(f"admin:{_word(dice, 13)}".encode()).decode()
    return value, f"curl -H 'Authorization: Basic {value}' http://h/"


def _scram(dice: random.Random) -> tuple[str, str]:
    value = f"SCRAM-SHA-256$4096:{_base64(dice, 16)}${_base64(dice, 32)}:{_base64(dice, 32)}"
    return value, f"rolname app rolpassword {value}"


def _pem(dice: random.Random) -> tuple[str, str]:
    body = _base64(dice, 180)
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    whole = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"])
    return lines[1], whole


def _kubernetes(dice: random.Random) -> tuple[str, str]:
    value = _base64(dice, 15)
    return value, f"apiVersion: v1\ndata:\n  db: {value}\nkind: Secret\nmetadata:\n  name: app\n"


def _kubernetes_json(dice: random.Random) -> tuple[str, str]:
    value = _base64(dice, 15)
    return value, json.dumps({"kind": "Secret", "data": {"db": value}, "metadata": {"name": "app"}})


KINDS: dict[str, Maker] = {
    "address": _in("connect to postgresql://app:@@@db.internal:5432/shrimp now"),
    "address without user": _in("redis://:@@@cache:6379/0"),
    "libpq": _in("host=db user=app password=@@ dbname=shrimp"),
    "libpq quoted": _in("host=db password='@@' dbname=shrimp"),
    "PGPASSWORD": _in("PGPASSWORD=@@ psql -h db"),
    "REDISCLI_AUTH": _in("export REDISCLI_AUTH=@@"),
    "env file": _in("LOG_LEVEL=info\nSHRIMP_DB_PASSWORD=@@\nPORT=8000", 20, WORDS + "!#$%^*"),
    "env of docker": _in('"Env": ["PATH=/bin", "POSTGRES_PASSWORD=@@", "LANG=C"]'),
    "env secret": _in("JWT_SECRET=@@", 32),
    "env token": _in("GITLAB_TOKEN=@@", 24),
    "env of Kubernetes": _in("- name: DB_PASSWORD\n  value: @@\n"),
    "SQL": _in("ALTER ROLE app WITH PASSWORD '@@' VALID UNTIL 'infinity'"),
    "SQL encrypted": _in("CREATE ROLE app ENCRYPTED PASSWORD E'@@';"),
    "SQL dollars": _in("CREATE ROLE app PASSWORD $$@@$$;"),
    "SCRAM": _scram,
    "md5": lambda d: (v := "md5" + d.randbytes(16).hex(), f"verifier {v} of app"),
    "bcrypt": lambda d: (v := "$2b$12$" + _word(d, 53), f"hash {v} stored"),
    "bearer": _in("Authorization: Bearer @@", 40, SAFE),
    "bearer in a dict": _in("{'authorization': 'Bearer @@', 'accept': '*/*'}", 40, SAFE),
    "basic": _basic,
    "token header": _in("Authorization: Token @@", 40),
    "cookie": _in("Cookie: session=@@; theme=dark", 32),
    "set-cookie": _in("< Set-Cookie: sid=@@; Path=/; HttpOnly", 32),
    "JWT": _jwt,
    "AWS id": lambda d: (v := "AKIA" + "".join(d.choices(string.ascii_uppercase + "234567", k=16)), f"key {v} used"),
    "AWS secret": _in("aws_secret_access_key = @@", 40),
    "Azure": lambda d: (v := _base64(d, 64), f"AccountName=shrimp;AccountKey={v};EndpointSuffix=core.windows.net"),
    "GitHub": lambda d: (v := "ghp_" + _word(d, 36), f"remote: {v}"),
    "GitHub fine": lambda d: (v := "github_pat_" + _word(d, 60), f"remote: {v}"),
    "GitLab": lambda d: (v := "glpat-" + _word(d, 20), f"PRIVATE-TOKEN: {v}"),
    "Slack": lambda d: (v := "xoxb-" + "".join(d.choices(string.digits, k=12)) + "-" + _word(d, 24), f"bot {v}"),
    "Slack hook": lambda d: (v := _word(d, 24), f"https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF2/{v}"),
    "Discord hook": lambda d: (v := _word(d, 60), f"https://discord.com/api/webhooks/123456789012345678/{v}"),
    "Stripe": lambda d: (v := "sk_live_" + _word(d, 24), f"charge with {v}"),
    "OpenAI": lambda d: (v := "sk-proj-A" + _word(d, 46), f"model key {v}"),
    "PEM": _pem,
    "Kubernetes": _kubernetes,
    "Kubernetes JSON": _kubernetes_json,
    "JSON password": _in('{"user": "a", "password": "@@", "port": 5432}', 12, WORDS + "!+/ "),
    "JSON access token": _in('{"access_token":"@@","expires_in":3600}', 30, SAFE),
    "JSON api key": _in('{"apiKey": "@@"}', 30),
    "JSON client secret": _in('{"client_secret": "@@"}', 30),
    "YAML password": _in("db:\n  user: app\n  password: @@\n  port: 5432\n"),
    "query": _in("GET /login?user=a&token=@@&next=%2F HTTP/1.1", 24),
    "redis.conf": _in("maxmemory 1gb\nrequirepass @@\n"),
    "command line": _in("migrate --password @@ --yes"),
}

RENDERINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda text: json.dumps({"line": text}),
    "JSON in JSON": lambda text: json.dumps({"line": json.dumps({"line": text})}),
    "repr": lambda text: repr({"line": text}),
    "HTML": lambda text: f"<td>{html.escape(text)}</td>",
    "coloured": lambda text: f"\x1b[31m{text[: len(text) // 2]}\x1b[0m{text[len(text) // 2 :]}",
}
KNOWN_FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: f"it is {s} here",
    "base64": lambda s: base64.b64encode(f"app:{s}".encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "cut": lambda s: f"it is {s[:10]}…",
    "cut at the end": lambda s: f"it is {s[:10]}",
    "broken": lambda s: f"it is {s[:5]}\n  {s[5:]}",
    "coloured": lambda s: "it is " + "".join(f"\x1b[33m{sign}\x1b[0m" for sign in s),
}


def png(text: str) -> bytes:
    """Return a PNG of one pixel with a text in it."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + text.encode()),
        (b"zTXt", b"Comment\0\0" + zlib.compress(text.encode())),
        (b"iTXt", b"Comment\0\0\0\0\0" + text.encode()),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    ]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        made += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return made


def _display(**bundle: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": bundle, "metadata": {}}


def _code(*outputs: dict[str, Any], source: str = "run", metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    cell = {"cell_type": "code", "id": "a", "source": source, "outputs": list(outputs), "execution_count": 1}
    return {**cell, "metadata": metadata or {}}


def _stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def _error(text: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": "E", "evalue": text, "traceback": ["Traceback", text]}


def _svg(text: str) -> str:
    return f"<svg><text>{html.escape(text)}</text></svg>"


def _attached(text: str) -> dict[str, Any]:
    picture = base64.b64encode(png(text)).decode()
    attachments = {f"{text}.png": {"image/png": picture}}
    return {"cell_type": "markdown", "id": "a", "source": "see", "metadata": {}, "attachments": attachments}


CHANNELS: dict[str, Callable[[str], dict[str, Any]]] = {
    "source": lambda t: _code(source=t),
    "stream": lambda t: _code(_stream(t + "\n")),
    "stream in two chunks": lambda t: _code(_stream(t[: len(t) // 2]), _stream(t[len(t) // 2 :])),
    "traceback": lambda t: _code(_error(t)),
    "text/plain": lambda t: _code(_display(**{"text/plain": t})),
    "text/html": lambda t: _code(_display(**{"text/html": f"<p>{html.escape(t)}</p>"})),
    "application/json": lambda t: _code(_display(**{"application/json": {"a": [t]}})),
    "image/svg+xml": lambda t: _code(_display(**{"image/svg+xml": _svg(t)})),
    "image/png": lambda t: _code(_display(**{"image/png": base64.b64encode(png(t)).decode()})),
    "metadata": lambda t: _code(metadata={"tags": [t]}),
    "attachment": _attached,
}


def plants(seed: int) -> Iterator[Plant]:
    """Yield hundreds of plants, the same for the same seed."""
    dice = random.Random(seed)
    for kind, make in KINDS.items():
        for rendering, render in RENDERINGS.items():
            value, text = make(dice)
            yield Plant(f"{kind}, {rendering}", value, render(text))
    for form, told in KNOWN_FORMS.items():
        for _ in range(8):
            value = _word(dice, dice.randrange(11, 40), SAFE)
            yield Plant(f"known, {form}", value, told(value), known=True)


ORDINARY = """\
password authentication failed for user "app"
FATAL:  password authentication failed for user "shrimp_user"
SELECT rolname, rolpassword IS NOT NULL FROM pg_authid
SELECT count(*) FROM users WHERE password IS NULL
token expired
Signature verification failed: token expired at 2026-11-24T10:00:00Z
auth_token_total 5
auth_token_total{kind="refresh"} 17
api_tokens_issued_total 42
USERNAME  PASSWORD  ROLE
username | password_set | role
the secret is kept in a vault
no secret was found in the evidence
commit 2d6e930c4a7b8f19d0e5c6a7b8f19d0e5c6a7b81
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
run_20261124T101500Z_morning-health-check_abc234
550e8400-e29b-41d4-a716-446655440000
password_encryption = scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
local all all md5
http://localhost:8000/documents?limit=1
postgresql://runbook@localhost:5432/shrimp_annotation
redis://localhost:6379/0
https://example.com:8443/a@b
password = "env:RUNBOOK_PG_PASSWORD"
# token = "env:SHRIMP_API_TOKEN"
CREATE ROLE runbook LOGIN PASSWORD '…';
WWW-Authenticate: Bearer realm="api"
Bearer authentication is required
the basic facts
Authorization header missing
cookie consent is shown to new users
set_password was called for user 12
max_tokens=4096
token=
password: ********
POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}
{"token_type": "bearer", "expires_in": 3600}
{"password": null, "token": ""}
{"password_changed_at": "2026-11-01T00:00:00Z"}
requirepass is not set
PWD=/var/lib/postgresql
user name mentioned in https://example.com/@name/post
the key = value pairs of a profile
primary_key_violations 0
connection authorized: user=app database=shrimp SSL enabled
def check(password: str, token: str | None = None) -> bool:
connect(user=user, password=password)
password=settings.db_password,
secret = resolve(reference)
kind: ConfigMap
  secretName: shrimp-tls
-----BEGIN CERTIFICATE-----
task-scheduler risk-assessment disk-usage
{"name": "REPLICAS", "value": "3"}
""".splitlines()


def ordinary(seed: int) -> list[str]:
    """Return ordinary lines: those above, and made ones with ids, digests and figures."""
    dice = random.Random(seed)
    made = list(ORDINARY)
    for _ in range(50):
        digest, short = dice.randbytes(32).hex(), dice.randbytes(4).hex()
        made += [
            f"image shrimp-api@sha256:{digest} pulled",
            f"commit {digest[:40]} by runbook",
            f"{digest[:8]}-{digest[8:12]}-4{digest[12:15]}-a{digest[15:18]}-{digest[18:30]} answered 200",
            f"run_20261124T{dice.randrange(10**5, 10**6)}Z_log-review_{short} OK",
            f"2026-11-24 10:00:00 INFO request {short} GET /documents/{dice.randrange(999)} 200 {dice.random():.3f}",
            base64.b64encode(b"\x89PNG\r\n\x1a\n" + dice.randbytes(90)).decode(),
        ]
    return made
