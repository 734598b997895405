"""Every certificate of the target: what its endpoints send, and what lies on this machine."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.certificates.reading import Certificate, from_der, from_file
from runbook.connections import Served, TlsEndpoints
from runbook.model import Asking, CouldNotFindOut
from runbook.target import Endpoint

MOST_OF_A_CHAIN = 10


@dataclass(frozen=True)
class Chain:
    """What an endpoint sends, read: its own certificate first; ``problem`` says why there is none."""

    served: Served
    certificates: tuple[Certificate, ...]
    sent: int
    problem: str

    @property
    def endpoint(self) -> Endpoint:
        """Return where it was seen."""
        return self.served.endpoint


def chains(asking: Asking) -> list[Chain]:
    """Return what each endpoint of the target sends; of a very long chain the first certificates only."""
    found = []
    for served in asking.connection(TlsEndpoints).served:
        problem, read = served.problem, []
        try:
            read = [from_der(data) for data in served.chain[:MOST_OF_A_CHAIN]]
        except CouldNotFindOut as error:
            problem = str(error)
        found.append(Chain(served, tuple(read), len(served.chain), problem or ("" if read else "it sent none")))
    return found


def files(asking: Asking) -> Iterator[tuple[Path, list[Certificate], str]]:
    """Yield each file of certificates that the profile names: its path, what is in it, and what kept it from us."""
    named = asking.target.certificates
    if named is None:
        return
    of_endpoints = [endpoint.file for endpoint in named.endpoints if endpoint.file is not None]
    for path in dict.fromkeys([*of_endpoints, *named.files]):
        try:
            yield path, from_file(path), ""
        except CouldNotFindOut as error:
            yield path, [], str(error)


def by_hand(endpoint: Endpoint) -> str:
    """Return the command that shows what an endpoint sends."""
    starttls = " -starttls postgres" if endpoint.protocol == "postgres" else ""
    name = shlex.quote(endpoint.name)
    return f"openssl s_client -connect {shlex.quote(endpoint.at)} -servername {name}{starttls} -showcerts </dev/null"
