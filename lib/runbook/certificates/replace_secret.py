"""Put the certificate and key that lie on the disk into the cluster's secret; the former ones stay in the cluster."""

import base64
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.certificates.reading import content
from runbook.certificates.secret import TYPE, Pair, differences, in_cluster, named_secret, on_disk, pair_of
from runbook.connections import KubernetesConnection
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.text import printable
from runbook.target import TlsSecret

_MANAGED = "cert-manager.io/certificate-name"


def observe(asking: Asking) -> dict[str, Any]:
    """Return cluster, secret, uid ("" where there is none), type, there and here (what each certificate is, in words),
    chain and wanted (their fingerprints), wrong (what speaks against the one on the disk), managed (who else makes the
    secret), immutable, same, diff (what differs, in words), refused (the API server's words in a dry run; "": it would
    take it), file, key_file and where (for kubectl). Of the keys nothing is among them.
    """
    try:
        named = named_secret(asking)
    except DoesNotApply as lacking:
        raise CouldNotFindOut(str(lacking)) from lacking
    connection = asking.connection(KubernetesConnection)
    here = on_disk(named)
    found = connection.read("secrets", named.name)
    there = in_cluster(found, named.name) if found else Pair()
    metadata = (found or {}).get("metadata") or {}
    same = bool(here.chain) and here.fingerprints == there.fingerprints and there.key_fits is True
    facts = {
        "cluster": connection.identity["where"],
        "secret": named.name,
        "uid": metadata.get("uid", ""),
        "type": printable(str((found or {}).get("type", ""))),
        "there": there.told if found else "no such secret",
        "here": here.told,
        "chain": there.fingerprints,
        "wanted": here.fingerprints,
        "wrong": here.problem,
        "managed": printable(str((metadata.get("annotations") or {}).get(_MANAGED, ""))),
        "immutable": bool((found or {}).get("immutable")),
        "same": same,
        "diff": differences(there, here),
        "refused": "",
        "file": str(named.file),
        "key_file": str(named.key_file),
        "where": connection.shown(),
    }
    if not (same or here.problem or facts["immutable"]) and facts["cluster"].startswith("https://"):
        facts["refused"] = _tried(connection, named, found)
    return facts


def _tried(connection: KubernetesConnection, named: TlsSecret, found: dict[str, Any] | None) -> str:
    """Return why the API server would not take it, in a dry run that keeps nothing; "" where it would."""
    data = _data(content(named.file), content(named.key_file))
    try:
        if found is None:
            connection.change("POST", "secrets", body=_secret(named.name, data), dry_run=True)
        else:
            body = {"metadata": _version(found), "type": TYPE, "data": data}
            connection.change("PATCH", "secrets", named.name, body=body, dry_run=True)
    except ChangeFailed as refusal:
        return str(refusal)
    return ""


def _data(certificate: bytes, key: bytes) -> dict[str, str]:
    return {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}


def _secret(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": TYPE, "data": dict(data)}


def _version(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: found["metadata"][name] for name in ("uid", "resourceVersion")}


def draft(facts: Mapping[str, Any]) -> Draft:
    """Write out the replacement, the copy of the former pair first; raises `DoesNotApply` where both are the same.

    Raises `NotPlanned` where the pair on the disk is no pair, somebody else makes the secret, or the API server would
    not take it.
    """
    name = facts["secret"]
    if facts["wrong"]:
        raise NotPlanned(f"what lies on the disk is not put into {name}: {facts['wrong']}")
    if facts["same"]:
        raise DoesNotApply(f"{name} has what lies in {facts['file']}")
    if facts["managed"]:
        by = f"cert-manager (certificate {facts['managed']})"
        raise NotPlanned(f"{by} makes {name} and would undo it: renew it there")
    if not facts["cluster"].startswith("https://"):
        raise NotPlanned(f"{facts['cluster']} is spoken to without TLS: the key is not sent there")
    if facts["immutable"]:
        raise NotPlanned(f"{name} is immutable: make another one, and have what serves it take that")
    if facts["refused"]:
        raise NotPlanned(f"in a dry run {facts['refused']}")
    arguments = {"before": facts["chain"], "after": facts["wanted"], "uid": facts["uid"]}
    by_hand = _create(facts["where"], name, facts["file"], facts["key_file"])
    if not facts["uid"]:
        return Draft(
            summary=f"make secret {name} of {facts['here']}",
            steps=(Step(act="make", shown=f"{by_hand} | {facts['where']} create --filename -", arguments=arguments),),
            blast_radius=_REACH,
            expected={"same": True},
            inverse=(Step(act="remove", shown=f"{facts['where']} delete secret {name}", arguments=arguments),),
        )
    apply = f"{facts['where']} apply --filename -"
    steps = (Step(act="replace", shown=f"{by_hand} | {apply}", arguments=arguments),)
    if not facts["chain"]:
        return Draft(
            summary=_summary(facts), steps=steps, blast_radius=_reach(facts), expected={"same": True},
            irreversible="what the secret held was no pair that could be kept",
        )  # fmt: skip
    copy = f"{name}-{facts['chain'][0][:8]}"
    arguments["copy"] = copy
    keep = _create(facts["where"], copy, _of(facts, name, "crt"), _of(facts, name, "key"))
    back = _create(facts["where"], name, _of(facts, copy, "crt"), _of(facts, copy, "key"))
    return Draft(
        summary=_summary(facts),
        steps=(
            Step(
                act="keep",
                shown=f"{keep} | {facts['where']} create --filename -",
                arguments=arguments,
            ),
            *steps,
        ),
        blast_radius=(
            *_reach(facts),
            f"the former pair stays as secret {copy}, until you remove it: {facts['where']} delete secret {copy}",
        ),
        expected={"same": True},
        inverse=(Step(act="restore", shown=f"{back} | {apply}", arguments=arguments),),
    )


_REACH = (
    "a server-side dry run was taken by the API server; the key goes to it by TLS, and is shown and kept nowhere",
    "an ingress takes the new one up at once, pods that mount the secret within some two minutes; those that have it "
    "in their environment, or by subPath, only after kubectl rollout restart",
)


def _reach(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return (*(f"differs: {line}" for line in facts["diff"]), *_REACH)


def _summary(facts: Mapping[str, Any]) -> str:
    return f"replace in secret {facts['secret']} {facts['there']} by {facts['here']}"


def _create(where: str, name: str, certificate: str, key: str) -> str:
    files = [one if one.startswith("<(") else shlex.quote(one) for one in (certificate, key)]
    made = f"{where} create secret tls {name} --cert={files[0]} --key={files[1]}"
    return f"{made} --dry-run=client --output yaml"


def _of(facts: Mapping[str, Any], name: str, part: str) -> str:
    """Return a part of a secret as bash gives a program a file."""
    template = '{{index .data "tls.' + part + '" | base64decode}}'
    return f"<({facts['where']} get secret {name} --output go-template={shlex.quote(template)})"


def _read(connection: KubernetesConnection, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secret as it was planned for; raises `ChangeFailed` where it is another one by now."""
    found = connection.read("secrets", name)
    if found is None or found["metadata"]["uid"] != arguments["uid"]:
        raise ChangeFailed(f"secret {name} is another one now; nothing was changed")
    if in_cluster(found, name).fingerprints != arguments["before"]:
        raise ChangeFailed(f"secret {name} holds another certificate by now; nothing was changed")
    return found


def _from_disk(named: TlsSecret, arguments: Mapping[str, Any]) -> dict[str, str]:
    certificate, key = content(named.file), content(named.key_file)
    pair = pair_of(certificate, key, str(named.file))
    if pair.fingerprints != arguments["after"] or not pair.key_fits:
        raise ChangeFailed(f"{named.file} or its key is another one than was planned for; nothing was changed")
    return _data(certificate, key)


def _keep(asking: Asking, arguments: Mapping[str, Any]) -> str:
    named, connection = named_secret(asking), asking.connection(KubernetesConnection)
    found = _read(connection, named.name, arguments)
    kept = connection.read("secrets", arguments["copy"])
    if kept is not None and in_cluster(kept, arguments["copy"]).fingerprints == arguments["before"]:
        return "it was kept already"
    data = {name: found["data"][name] for name in ("tls.crt", "tls.key")}
    connection.change("POST", "secrets", body=_secret(arguments["copy"], data))
    return ""


def _replace(asking: Asking, arguments: Mapping[str, Any]) -> str:
    named, connection = named_secret(asking), asking.connection(KubernetesConnection)
    found = _read(connection, named.name, arguments)
    body = {"metadata": _version(found), "data": _from_disk(named, arguments)}
    connection.change("PATCH", "secrets", named.name, body=body)
    return ""


def _make(asking: Asking, arguments: Mapping[str, Any]) -> str:
    named, connection = named_secret(asking), asking.connection(KubernetesConnection)
    connection.change("POST", "secrets", body=_secret(named.name, _from_disk(named, arguments)))
    return ""


def _remove(asking: Asking, arguments: Mapping[str, Any]) -> str:
    named, connection = named_secret(asking), asking.connection(KubernetesConnection)
    found = connection.read("secrets", named.name)
    if found is not None:
        if in_cluster(found, named.name).fingerprints != arguments["after"]:
            raise ChangeFailed(f"secret {named.name} holds another certificate by now; it was left as it is")
        body = {"preconditions": {"uid": found["metadata"]["uid"]}}
        connection.change("DELETE", "secrets", named.name, body=body)
    return ""


def _restore(asking: Asking, arguments: Mapping[str, Any]) -> str:
    named, connection = named_secret(asking), asking.connection(KubernetesConnection)
    kept, found = (connection.read("secrets", name) for name in (arguments["copy"], named.name))
    if kept is None or in_cluster(kept, arguments["copy"]).fingerprints != arguments["before"]:
        raise ChangeFailed(f"secret {arguments['copy']} does not hold the former pair any more; nothing was changed")
    if found is None or in_cluster(found, named.name).fingerprints != arguments["after"]:
        raise ChangeFailed(f"secret {named.name} holds another certificate by now; it was left as it is")
    data = {name: kept["data"][name] for name in ("tls.crt", "tls.key")}
    connection.change("PATCH", "secrets", named.name, body={"metadata": _version(found), "data": data})
    return ""


def _holds(which: str) -> Any:
    """Return what tells whether the secret has the pair that an argument names."""

    def happened(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
        named, connection = named_secret(asking), asking.connection(KubernetesConnection)
        found = connection.read("secrets", named.name)
        return found is not None and in_cluster(found, named.name).fingerprints == arguments[which]

    return happened


def _is_kept(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return asking.connection(KubernetesConnection).read("secrets", arguments["copy"]) is not None


def _is_gone(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return asking.connection(KubernetesConnection).read("secrets", named_secret(asking).name) is None


replace_secret = Change(
    name="certificates.replace_secret",
    title="Put the certificate that lies on the disk into the cluster's secret",
    observe=observe,
    draft=draft,
    acts={
        "keep": Act(_keep, _is_kept),
        "replace": Act(_replace, _holds("after")),
        "make": Act(_make, _holds("after")),
        "remove": Act(_remove, _is_gone),
        "restore": Act(_restore, _holds("before")),
    },
    needs=(KubernetesConnection,),
    watched=("cluster", "secret", "uid", "chain", "wanted", "managed"),
    restored=("chain",),
    patience=30.0,
    deadline=25.0,
    partial=True,
)
