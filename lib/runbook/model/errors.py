"""What can go wrong, each with the exit status it leads to."""

from runbook.model.status import EXIT_FAILED, EXIT_USAGE


class RunbookError(Exception):
    """A failure told in one sentence that says what to do about it; ``exit_status`` is what the command ends with."""

    exit_status = EXIT_FAILED


class UsageError(RunbookError):
    """The call or the profile is wrong; nothing was started."""

    exit_status = EXIT_USAGE


class RunFailed(RunbookError):
    """The run itself failed: a cell raised, the kernel died, a deadline passed, evidence could not be written."""


class CouldNotFindOut(Exception):
    """Raised by a probe that cannot answer; the reason becomes the message of an UNKNOWN finding."""


class DoesNotApply(Exception):
    """Raised by a probe whose question does not apply to this target; the reason becomes a SKIPPED finding."""


class Unreachable(CouldNotFindOut):
    """A dependency does not answer.

    ``kind`` is one of refused, timeout, name, tls, tls-required, password, no-database, slots, starting, shutting-down,
    redirects, protocol, host-key, not-configured, other.
    """

    def __init__(self, dependency: str, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.dependency = dependency
        self.kind = kind
        self.reason = reason
