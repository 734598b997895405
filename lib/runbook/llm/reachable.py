"""Does the language model answer, and does it take the service's key?"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import LanguageModelConnection, Response
from runbook.connections.llm import LISTS
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_most
from runbook.model.text import printable
from runbook.model.units import counted
from runbook.redaction import Redactor
from runbook.target import Target

COLUMNS = [
    "place", "provider", "model", "key", "answered", "kind", "reason", "status", "code", "said", "models",
    "model_there", "public", "without_key", "ms", "name_ms", "connect_ms", "tls_ms", "stand_in",
]  # fmt: skip
_WORDS = 200
# What names a kind of error, and does not look like a part of a key: invalid_api_key, AuthenticationError, 401.
_CODE = re.compile(r"[A-Za-z]{1,40}(?:[_.][A-Za-z]{1,40}){0,9}|[0-9]{1,5}")
_MODELS_NAMED = 5
# What providers call a quota that is used up, or an account that is not paid; any other 429 passes by itself.
_QUOTA = ("insufficient_quota", "billing", "quota_exceeded", "exceeded your current quota")
# What says this in its answers is a part of the practice stack.
_STAND_IN = b"runbook-sandbox"
# In place of what the request without the key came to.
TOO_SLOW = "too slow to be asked"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row on one request for the list of models, with the service's key, and on the same one without it.

    Columns: place, provider (openai, ollama), model and key (what the profile names; "" for none), answered; kind and
    reason (why not answered); status, code and said (of an error; of a key that is refused no words, which may show a
    part of it), models (how many are listed; NaN: no list), model_there (None: not known), public (the same request
    without the key lists them as well; None: not known) and without_key (what that came to; "": not asked), ms,
    name_ms, connect_ms, tls_ms (NaN: not come so far, or a connection that was open already), stand_in (it is the
    practice stack's).
    """
    named = asking.target.llm
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "place": named.url if named else "", "provider": named.kind if named else "",
        "model": (named.model if named else None) or "", "key": (named.token if named else None) or "",
        "answered": False, "status": 0, "models": float("nan"), "model_there": None, "public": None,
        "ms": float("nan"), "stand_in": False,
    }  # fmt: skip
    connection: LanguageModelConnection | None = None
    try:
        connection = asking.connection(LanguageModelConnection)
        response = connection.models()
        shown = _Shown(asking.target)
        row |= {"answered": True, "status": response.status, "ms": 1000 * response.seconds}
        row |= _read(response, row, shown)
        row["stand_in"] = _STAND_IN in response.body
    except Unreachable as error:
        row |= {"kind": error.kind, "reason": error.reason}
    stages = connection.stages if connection is not None else {}
    row |= {f"{stage}_ms": stages.get(stage, float("nan")) for stage in ("name", "connect", "tls")}
    if connection is not None and row["key"] and row["models"] >= 0:
        # What takes longer with the key would not be answered in time without it.
        slow = row["ms"] >= 1000 * connection.stranger_seconds
        row |= {"without_key": TOO_SLOW} if slow else _asked_without(connection, row)
    return pd.DataFrame([row], columns=COLUMNS)


class _Shown:
    """How words of the other side are shown: scrubbed first, since half a secret is none that is known; then cut."""

    def __init__(self, target: Target) -> None:
        self._redactor = Redactor(target.secret_values(), allow=target.redaction.allow)

    def __call__(self, text: str) -> str:
        told = self._redactor.text(printable(text).strip())
        return told if len(told) <= _WORDS else f"{told[:_WORDS]}…"


def _read(response: Response, row: dict[str, Any], shown: Callable[[str], str]) -> dict[str, Any]:
    """Return what the body of an answer says, whatever it is."""
    if response.is_html:
        return {"kind": "html", "reason": f"{response.path} answered {response.status} with a page for people"}
    try:
        told = response.mapping()
    except CouldNotFindOut as problem:
        return {"kind": "strange", "reason": str(problem)}
    if response.status != 200:
        return _error_of(told, response.status, shown)
    names = _names(told, row["provider"])
    if names is None:
        came = ", ".join(sorted(map(str, told))[:8]) or "nothing"
        reason = f"{response.path} answered 200 without a list of models; what came: {shown(came)}"
        return {"kind": "strange", "reason": reason}
    # Without a tag Ollama takes the one that is called latest.
    wanted = {row["model"], f"{row['model']}:latest"} if row["provider"] == "ollama" else {row["model"]}
    there = None if not row["model"] else bool(wanted & set(names))
    said = "" if there is not False else f"there are {', '.join(map(shown, names[:_MODELS_NAMED])) or 'none'}"
    more = f" and {len(names) - _MODELS_NAMED} more" if said and len(names) > _MODELS_NAMED else ""
    return {"models": len(names), "model_there": there, "said": f"{said}{more}"}


def _names(told: dict[str, Any], provider: str) -> list[str] | None:
    """Return the names of the models that an answer lists; None where it is no such list."""
    listed, key = (told.get("data"), "id") if provider == "openai" else (told.get("models"), "name")
    if not isinstance(listed, list):
        return None
    return [str(one[key]) for one in listed if isinstance(one, dict) and isinstance(one.get(key), str)]


def _asked_without(connection: LanguageModelConnection, row: dict[str, Any]) -> dict[str, Any]:
    """Return whether the list is there for anyone: only where it is not does it tell that the key was taken."""
    try:
        response = connection.models_without_key()
    except Unreachable as error:
        return {"without_key": error.kind}
    status = response.status
    if status == 429 or status >= 500:
        return {"without_key": str(status)}  # nothing that was said of the key
    try:
        public = status == 200 and _names(response.mapping(), row["provider"]) is not None
    except CouldNotFindOut:
        public = False
    return {"public": public, "without_key": str(status)}


def _error_of(told: dict[str, Any], status: int, shown: Callable[[str], str]) -> dict[str, Any]:
    """Return an error's code and words, as OpenAI, Ollama and their like tell them.

    Whoever refuses a key may repeat a part of it, as OpenAI does: of 401 and 403 only the code is kept.
    """
    error = told.get("error", told.get("detail", told))
    of_key = status in (401, 403)
    if not isinstance(error, dict):
        return {"code": "", "said": "" if of_key else shown(str(error))}
    code, words = str(error.get("code") or error.get("type") or ""), str(error.get("message", ""))
    if of_key:
        return {"code": shown(code) if _CODE.fullmatch(code) else "", "said": ""}
    return {"code": shown(code), "said": "" if "API key" in words else shown(words)}


def check(frame: pd.DataFrame, *, warning_ms: float = 2000, critical_ms: float = 5000) -> list[Finding]:
    """Judge the answer: not there, its key refused, its quota used up, its own errors and a model that it lacks are
    CRITICAL; a limit of requests that passes is a WARNING. So is an answer of more than 2 s, the runbook's own limit
    for a high response time: a list of models is the least that it can be asked for.

    That its list comes with the key proves the key only where it does not come without: else the key is UNKNOWN. A
    quota that is used up is not seen by this request everywhere: OpenAI lists models to who owes money, too.
    """
    row = frame.iloc[0].to_dict()
    name = _name(row)
    if not row["answered"] or row["kind"] in ("html", "strange"):
        return [_unreachable(name, row)]
    if row["status"] != 200:
        return [_refused(name, row)]
    return [_listed(name, row, warning_ms, critical_ms), *_key(row)]


def _listed(name: str, row: dict[Any, Any], warning_ms: float, critical_ms: float) -> Finding:
    """Return the finding on an answer that lists models."""
    taken = "takes the key, " if row["key"] and row["public"] is False else ""
    if row["model_there"] is False:
        message = f"it answers, {taken}but has no model {row['model']}: {row['said']}"
        after = f"have the service ask for one that is there, or load it ({_load(row)})"
        return _finding(name, Status.CRITICAL, message, "no model", after)
    what = f"has {row['model']} among" if row["model"] else "lists"
    message = f"answered 200 in {row['ms']:.0f} ms: {taken}{what} {counted(int(row['models']), 'model')}"
    finding = at_most(name, float(row["ms"]), warning_ms, critical_ms, unit="ms", message=message)
    if finding.status is Status.OK:
        return finding
    after = "every request that waits for it takes at least as long: see its provider's status page; where it lasts, "
    after += "take it out, or have the service give up sooner"
    slow = f"slow: {message} ({_stages(row)})"
    return msgspec.structs.replace(finding, message=slow, next=after)


def _key(row: dict[Any, Any]) -> list[Finding]:
    """Return the finding on a key of which nothing is proven; none where it is taken, or the profile names none."""
    if not row["key"] or row["public"] is False:
        return []
    path = LISTS[row["provider"]]
    if row["public"]:
        message = f"{path} is answered without a key as well: that it is answered proves nothing about the key at "
        after = "look in the service's log for a 401 of the model; else make one request that needs the key"
    elif row["without_key"] == TOO_SLOW:
        message = f"it is {TOO_SLOW} for {path} without the key, which alone would show that it takes the one at "
        after = "ask again when it is quicker; a key that is refused shows as a 401 in the service's log"
    else:
        message = f"{path} could not be asked without the key ({row['without_key'] or 'not asked'}), which alone would "
        message += "show that it is for the key that it answers: nothing is proven of the one at "
        after = "ask again"
    return [_finding("key of the language model", Status.UNKNOWN, f"{message}{row['key']}", "not proven", after)]


def _name(row: dict[Any, Any]) -> str:
    return "language model (a stand-in of the practice stack)" if row["stand_in"] else "language model"


def _finding(name: str, status: Status, message: str, value: str, after: str) -> Finding:
    return Finding(object=name, status=status, message=message, value=value, next=after)


_NEXT = {
    "not-configured": "name it in [llm] of the profile; the example profile says how",
    "name": "see the resolver of this machine and the service's, and the url that the service is given",
    "refused": "start it where it is one's own (ollama serve); else see the url that the service is given",
    "not-accepted": "see the way to it: firewall, proxy, routes; then its provider's status page",
    "tls": "do not switch verification off: see whose certificate is served there (a proxy's?), and the clock",
    "tls-silent": "see what stands in between (a proxy, a firewall); then its provider's status page",
    "timeout": "see its provider's status page; where it lasts, take it out, or have the service give up sooner",
    "redirects": "the url is to be the address that answers itself",
    "html": "something else answers there (a proxy, a log-in page): see the url, and the way to it",
    "strange": "this is no language model of the kind that [llm] says: see its url and kind",
}


def _unreachable(name: str, row: dict[Any, Any]) -> Finding:
    kind = row["kind"]
    status = Status.UNKNOWN if kind == "not-configured" else Status.CRITICAL
    where = "" if kind == "not-configured" else "; asked from where the runbook runs"
    after = _NEXT.get(kind, "see the url that the service is given, and the way to it")
    return _finding(name, status, f"{row['reason']}{where}", kind, after)


def _refused(name: str, row: dict[Any, Any]) -> Finding:
    """Return the finding on an answer that is an error."""
    status, said = int(row["status"]), ": ".join(filter(None, (row["code"], row["said"])))
    told = f"{status} ({said})" if said else str(status)
    if status == 401 and not row["key"]:
        message = f"it answers, and wants a key: {told}. That proves nothing about the service's: [llm] names no token"
        return _finding(name, Status.UNKNOWN, message, "no key", "name the service's key in [llm]: token = …")
    if status == 401:
        message = f"the key at {row['key']} is refused: {told}: it was revoked, has expired, or is another's"
        after = (
            "make a new key at the provider, put it where the service and the profile take theirs from, restart the "
            "service; find out who revoked it, and why"
        )
        return _finding(name, Status.CRITICAL, message, "key refused", after)
    if status == 403:
        message = f"the key at {row['key'] or 'no place'} is known and has no right to this: {told}"
        after = "see the rights of the key, its project, its allowed addresses and countries at the provider"
        return _finding(name, Status.CRITICAL, message, "no right", after)
    if status == 429 and any(word in said.lower() for word in _QUOTA):
        message = f"the quota is used up, or a bill is open: {told}: waiting does not help"
        return _finding(
            name, Status.CRITICAL, message, "quota", "raise the limit or pay at the provider; it works again at once"
        )
    if status == 429:
        message = f"too many requests: {told}: it passes by itself when fewer come"
        after = "send fewer: see who sends so many, and how often the service repeats what failed"
        return _finding(name, Status.WARNING, message, "too many requests", after)
    if status == 404:
        path = LISTS[row["provider"]]
        message = f"it has no {path}: {told}: url or kind of [llm] are not those of this server"
        return _finding(name, Status.CRITICAL, message, "no such path", _NEXT["strange"])
    if status >= 500:
        message = f"the provider itself fails: {told}"
        after = "see its status page and wait: nothing on this side helps; take it out where that lasts"
        return _finding(name, Status.CRITICAL, message, "provider fails", after)
    return _finding(name, Status.UNKNOWN, f"answered {told}", "", "see what that means at the provider")


def _stages(row: dict[Any, Any]) -> str:
    told = [("name", "name_ms"), ("connection", "connect_ms"), ("TLS", "tls_ms")]
    return ", ".join(f"{what} {row[key]:.0f} ms" for what, key in told if not pd.isna(row[key]))


def _load(row: dict[Any, Any]) -> str:
    return (
        f"ollama pull {row['model']}"
        if row["provider"] == "ollama"
        else "the provider's list of models, and the account's access"
    )


reachable = Question(
    name="llm.reachable",
    title="Does the language model answer, and take the service's key?",
    probe=probe,
    check=check,
    source='curl -sS -i -H "Authorization: Bearer $KEY" URL/v1/models; curl -sS -i URL/v1/models'
    "   # [llm] of the profile; ollama: URL/api/tags",
    needs=(LanguageModelConnection,),
    deadline=30.0,
    next="whoever runs the language model, or its account, is to be asked; until then candidates are not generated",
    caused_by={"llm.reachable": (TOO_SLOW,)},  # of its key nothing is known, and its slowness says why
)
