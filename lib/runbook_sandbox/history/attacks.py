"""An hour in which somebody tries to get in, and something new breaks."""

from random import Random

from runbook_sandbox.history.event import SCANNER, SQL_INJECTION, TRAVERSAL, Event, request
from runbook_sandbox.history.messages import GENERATE, UNSEEN

BRUTE_FORCE, SPRAYING, PROBING = "203.0.113.66", "203.0.113.99", "198.51.100.200"
BRUTE_FORCED, LOGINS, SPRAYED = "admin", 60, 25
_MINUTE = 60_000_000

# As the service logs them: raw where a client sends it so or the server decodes it, else encoded once or twice.
SUSPICIOUS = {
    SQL_INJECTION: (
        "/documents/x' union select username, hashed_password from users--",
        "/documents/x'%20UNION%20SELECT%20null,null--",
        "/documents/x%27%20UnIoN%20SeLeCt%20version()--",
        "/documents/x%2527%2520union%2520select%25201--",
        "/documents/x' or 1=1--",
        "/documents/x' OR 1=1--",
        "/documents/x%27%20or%201=1--",
        "/documents/x%2527%2520oR%25201%253D1--",
        "/documents/x';DROP TABLE users;--",
        "/documents/x';drop table triage_items;--",
        "/documents/x%27%3BDrOp%20tAbLe%20users--",
        "/documents/x%2527%253Bdrop%2520table%2520documents--",
        "/documents/x' and sleep(5)--",
        "/documents/x%27%20AND%20SLEEP%285%29--",
        "/documents/x%2527%2520and%2520sleep%25285%2529--",
    ),
    TRAVERSAL: (
        "/documents/../../etc/passwd",
        "/documents/..%2f..%2fetc%2fpasswd",
        "/documents/%2e%2e%2f%2e%2e%2fetc%2fhosts",
        "/documents/%2E%2E%2Fapp%2Fconfig",
        "/documents/%252e%252e%252f%252e%252e%252fapp",
        "/export/../../secrets",
        "/etc/passwd",
    ),
    SCANNER: (
        "/wp-login.php",
        "/WP-Login.php",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/%252egit/config",
        "/phpmyadmin",
        "/phpMyAdmin/index.php",
    ),
}


def attack(rng: Random, until: int, hour: int, users: tuple[str, ...], *, documented: bool) -> list[Event]:
    """Make what happens in the last hour before `until`; `hour` is how long that is, where the window is shorter."""
    begin, scale = until - hour, hour / (60 * _MINUTE)

    def at(minute: float) -> int:
        return begin + int(minute * _MINUTE * scale)

    def asked(minute: float, request_line: str, status: int, who: tuple[str | None, str], rule: str = "") -> Event:
        method, path = request_line.split(" ", 1)
        user, client = who if documented else (None, None)
        duration = round(rng.lognormvariate(0.0, 0.5), 2)
        return request(at(minute), method, path, status, duration, user=user, client=client, attack=rule)

    def login(minute: float, user: str, client: str) -> Event:
        return asked(minute, "POST /auth/login", 401, (user, client))

    made = [login(10 + 4.9 * each / LOGINS, BRUTE_FORCED, BRUTE_FORCE) for each in range(LOGINS)]
    sprayed = (*users, *(f"guest{each}" for each in range(SPRAYED)))[:SPRAYED]
    made += [login(20 + 9 * each / SPRAYED, user, SPRAYING) for each, user in enumerate(sprayed)]
    for rule, paths in SUSPICIOUS.items():
        for path in paths:
            status = rng.choice((404, 404, 404, 422, 403, 200))
            made.append(asked(rng.uniform(32, 42), f"GET {path}", status, (None, PROBING), rule))
    for _ in range(40):
        minute = rng.uniform(45, 49)
        made.append(GENERATE.make(rng, at(minute)))
        made.append(asked(minute, "POST /candidates/generate", 500, (None, PROBING)))
    made += [UNSEEN.make(rng, at(52 + each)) for each in range(5)]
    return made
