"""A Jupyter server's extension that scrubs what a person saves: the secrets of all targets, and what has their form."""

from typing import Any

from runbook.model import RunbookError
from runbook.redaction.document import redact_notebook
from runbook.redaction.redactor import Redactor
from runbook.target import load_target, target_names


def scrub_model(model: dict[str, Any], path: str, **_: Any) -> None:
    """Scrub the model of a file in place before it is saved; raises where that fails, and then nothing is saved."""
    try:
        redactor = _redactor_of_all_targets()
        if redactor.text(path) != path:
            raise _Refused("its name holds a secret; choose another")
        content = model.get("content")
        if model.get("type") == "notebook" and content is not None:
            model["content"] = redact_notebook(content, redactor)
        elif isinstance(content, str) and model.get("format") != "base64":
            model["content"] = redactor.text(content)
    except _Refused as reason:
        raise _refusal(str(reason)) from None
    except Exception as problem:  # noqa: BLE001 - what could not be scrubbed is not saved
        # The problem's own text may hold what was to be scrubbed.
        raise _refusal(f"its secrets could not be taken out ({type(problem).__name__})") from None


class _Refused(RunbookError):
    """Why a file is not saved."""


def _redactor_of_all_targets() -> Redactor:
    secrets: set[str] = set()
    allowed: set[str] = set()
    for name in target_names():
        try:
            target = load_target(name)
        except RunbookError:
            raise _Refused(
                f"the profile of target {name} has mistakes, so its secrets are not known; mend it"
            ) from None
        secrets.update(target.secret_values())
        allowed.update(target.redaction.allow)
    return Redactor(secrets, allow=allowed)


def _refusal(reason: str) -> Exception:
    """Return the only error that keeps a Jupyter server from saving: it logs any other and saves."""
    from tornado.web import HTTPError

    message = f"not saved: {reason}"
    return HTTPError(500, message.replace("%", "%%"), reason=message)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    server.contents_manager.register_pre_save_hook(scrub_model)
