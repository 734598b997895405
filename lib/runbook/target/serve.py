"""How `serve` listens, and how much it starts by itself."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from runbook.target.addresses import Folder
from runbook.target.secret import SecretReference


class Serve(BaseModel):
    """Where `serve` listens, with which token, and how many runs alerts may start: in an hour, and at a time.

    Without ``certificate`` and ``key`` it listens on loopback only. A run that goes on when it is told to end has
    ``grace`` seconds.
    """

    # hide_input: as for the rest of a profile, an error must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: SecretReference | None = None
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,100}$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8930
    certificate: Folder | None = None
    key: Folder | None = None
    runs_per_hour: Annotated[int, Field(ge=1, le=1000)] = 60
    runs_at_once: Annotated[int, Field(ge=1, le=16)] = 2
    grace: Annotated[float, Field(ge=0, le=600)] = 30.0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise PydanticCustomError("half_tls", "certificate and key go together")
        return self
