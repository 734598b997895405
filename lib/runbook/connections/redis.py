"""Redis: read-only commands, bounded, never retried behind the caller's back."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from runbook.connections.clock import ClockReading, now
from runbook.connections.connection import Connection
from runbook.model import CouldNotFindOut, Unreachable
from runbook.target import Target, resolve


@contextmanager
def suppress_refusals() -> Iterator[None]:
    """Go on where a command is refused; not where the server does not answer."""
    try:
        yield
    except Unreachable:
        raise
    except CouldNotFindOut:
        return


def answers_without_password(target: Target) -> bool:
    """Return whether the target's Redis answers one who gives no password; raises `CouldNotFindOut`."""
    if target.redis is None:
        raise Unreachable("redis", "not-configured", f"the profile of {target.name} has no [redis]")
    seconds = target.deadlines.connect
    client = redis.Redis.from_url(
        target.redis.url, username=None, socket_timeout=seconds, socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    try:
        return bool(client.ping())
    except redis.exceptions.AuthenticationError:
        return False
    except redis.exceptions.RedisError as error:
        if "NOAUTH" in str(error) or "DENIED" in str(error):  # of protected mode
            return False
        raise CouldNotFindOut(f"Redis could not be asked without a password: {type(error).__name__}") from error
    finally:
        client.close()


class RedisConnection(Connection):
    """The service's Redis."""

    name = "redis"

    def __init__(self, client: "redis.Redis", place: str, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._silent: Unreachable | None = None
        self.place = place
        self.identity = {}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and read version, run id and clock."""
        if target.redis is None:
            raise Unreachable("redis", "not-configured", f"the profile of {target.name} has no [redis]")
        deadline = target.deadlines.connect
        client = redis.Redis.from_url(
            target.redis.url,
            password=resolve(target.redis.password) if target.redis.password else None,
            client_name="runbook",  # spaces and most signs are refused in such a name
            socket_timeout=deadline,
            socket_connect_timeout=deadline,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            single_connection_client=False,
        )
        settings = client.connection_pool.connection_kwargs
        place = settings.get("path") or f"{settings.get('host')}:{settings.get('port')}"
        connection = cls(client, place, deadline)
        try:
            connection._identify()
        except BaseException:
            client.close()
            raise
        return connection

    def _identify(self) -> None:
        before = now()
        # A user who may not ask for them keeps the connection from proving itself, not from being used.
        server: dict[str, Any] = {}
        with suppress_refusals():
            seconds, microseconds = self.ask("TIME")
            told = datetime.fromtimestamp(int(seconds) + int(microseconds) / 1e6, UTC)
            self.clock = ClockReading.between(told, before, now())
        with suppress_refusals():
            server = self.info("server")
        self.identity = {
            "what": f"Redis {server.get('redis_version', 'of no told version')}",
            "where": self.place,
            "process": str(server.get("run_id", ""))[:12],
        }

    def ask(self, *command: str) -> Any:
        """Return the reply to one command, parsed by the client; raises `CouldNotFindOut` or `Unreachable`."""
        if self._silent is not None:
            raise self._silent
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.exceptions.RedisError as error:
            told = self._explain(error)
            # A server that kept one command waiting for the whole deadline is not given a second one.
            self._silent = told if isinstance(told, Unreachable) and told.kind == "timeout" else None
            raise told from error

    def simulated(self, user: str, *command: str) -> bool:
        """Return whether the server would let a user run a command, which it does not (ACL DRYRUN).

        One that it does not know is none. Raises `CouldNotFindOut` where that may not be asked, or is too new for it.
        """
        try:
            return str(self.ask("ACL", "DRYRUN", user, *command)) == "OK"
        except Unreachable:
            raise
        except CouldNotFindOut as refused:
            if "not found" in str(refused):
                return False
            raise

    def info(self, section: str) -> dict[str, Any]:
        """Return one section of INFO as a dictionary."""
        return cast(dict[str, Any], self.ask("INFO", section))

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _explain(self, error: redis.exceptions.RedisError) -> CouldNotFindOut:
        at = f"Redis at {self.place}"
        cause = error.__cause__ or error.__context__
        if isinstance(error, redis.exceptions.TimeoutError):
            return Unreachable("redis", "timeout", f"{at} kept silent: no answer within {self._deadline:g} s")
        if isinstance(error, redis.exceptions.BusyLoadingError):
            return Unreachable("redis", "starting", f"{at} is loading its data")
        if isinstance(error, redis.exceptions.AuthenticationError) or "NOAUTH" in str(error):
            return Unreachable("redis", "password", f"{at} is up and refused the log-in")
        if "max number of clients" in str(error):
            return Unreachable("redis", "slots", f"{at} has no client slot left")
        if isinstance(error, redis.exceptions.NoPermissionError):
            return CouldNotFindOut(f"{at}: the user may not: {error}")
        if isinstance(error, redis.exceptions.ConnectionError):
            if isinstance(cause, socket.gaierror):
                return Unreachable("redis", "name", f"the host name in {self.place} cannot be resolved")
            if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
                return Unreachable("redis", "refused", f"{at} refuses connections: nothing listens there")
            return Unreachable("redis", "other", f"{at}: {error}")
        return CouldNotFindOut(f"{at}: {error}")
