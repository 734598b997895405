"""What keeps Prometheus from telling anything, told beside what it did not tell, and what to do about each."""

EXPLAINED_BY = {"prometheus.scraping": "Prometheus itself is down: there are no figures and no alerts"}
# The paths that ask the language model: they fail with it.
CAUSED_BY = {"llm.reachable": ("/candidates",)}

# Whoever is reached so is not there at all; every other reason is one of who asks, or of what stands in between.
GONE = ("refused", "timeout")

_PROFILE = "[prometheus] of the profile"
_AFTER = {
    "password": f"give {_PROFILE} username and password, or token, that it lets in; whether alerts fire is not told",
    "redirects": f"name Prometheus' own address as url in {_PROFILE}: that of no log-in page and no proxy",
    "protocol": f"name Prometheus' own address as url in {_PROFILE}; where it is, see what answers there (a proxy?)",
    "tls": f"mend its certificate, or name the authority that signed it as ca_file in {_PROFILE}",
    "name": f"mend the name in url in {_PROFILE}, or how this machine resolves names",
}


def to_be_told(kind: str, reason: str) -> str:
    """Return what to do where Prometheus could not be asked; ``kind`` is that of `runbook.model.Unreachable`."""
    if kind in (*GONE, "starting"):
        return "see prometheus.scraping: until Prometheus answers there is no history, and no alert can fire"
    if "has no [prometheus]" in reason:
        return f"have Prometheus scrape the target and name it in {_PROFILE}: until then no alert can fire"
    other = f"see whether url in {_PROFILE} is Prometheus' own address (/api/v1/query below it answers), and its log"
    return _AFTER.get(kind, other)
