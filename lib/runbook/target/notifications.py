"""Who is told when a notebook's verdict on a target changes."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from runbook.target.addresses import Folder
from runbook.target.secret import SecretReference


class _Strict(BaseModel):
    # hide_input: as for the rest of a profile, an error must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _require_prom(value: Path) -> Path:
    if value.suffix != ".prom" or not value.stem:
        raise PydanticCustomError("bad_textfile", "node_exporter reads files whose names end in .prom, and no others")
    return value


class Webhook(_Strict):
    """Where a confirmed plan posts messages about incidents; ``url`` is a secret, since whoever knows it can post.

    ``kind`` "slack" posts what Slack, Mattermost and those like them take, "json" the message and its facts by name.
    ``timeout`` bounds each attempt in seconds.
    """

    url: SecretReference
    kind: Literal["slack", "json"] = "slack"
    timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    ca_file: Path | None = None


class Notifications(_Strict):
    """What is told after headless runs: to ``webhook``, a verdict that got worse or better; in ``textfile``, which
    node_exporter's textfile collector reads, the last verdict and the last success of each notebook.

    ``kind`` "slack" posts what Slack, Mattermost and those like them take, "generic" each change by name as JSON.
    ``timeout`` bounds each of at most two attempts, in seconds.
    """

    webhook: SecretReference | None = None
    kind: Literal["slack", "generic"] = "slack"
    timeout: Annotated[float, Field(gt=0, le=10)] = 3.0
    ca_file: Path | None = None
    textfile: Annotated[Folder, AfterValidator(_require_prom)] | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.webhook is None and self.textfile is None:
            raise PydanticCustomError("nobody_told", "name a webhook or a textfile: without either nobody is told")
        return self

    @property
    def place(self) -> Webhook | None:
        """Return the webhook as it is posted to."""
        return Webhook(url=self.webhook, timeout=self.timeout, ca_file=self.ca_file) if self.webhook else None
