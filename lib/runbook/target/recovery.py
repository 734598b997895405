"""What a profile says of a recovery: how the service is stopped, started and migrated, and what is preserved."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat
from pydantic_core import PydanticCustomError

from runbook.target.addresses import Folder


class _Strict(BaseModel):
    # hide_input: as for the rest of a profile, an error must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _require_argv(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0].startswith("/") or not all(part.isprintable() for part in value):
        raise PydanticCustomError("bad_argv", "this is to be a list: the whole path of a program, then its arguments")
    return value


Argv = Annotated[tuple[str, ...], AfterValidator(_require_argv)]


class Recovery(_Strict):
    """How the service is recovered: ``stop`` and ``start`` are commands for a service that is no container of the
    profile's, ``migrate`` the one that brings a database up to what the service needs, with {database} in it.
    ``folders`` are copied to below ``preserve`` before anything is changed. Each may take ``seconds``.
    """

    stop: Argv | None = None
    start: Argv | None = None
    migrate: Argv | None = None
    folders: tuple[Folder, ...] = ()
    preserve: Folder | None = None
    seconds: PositiveFloat = Field(120.0, le=3600)
