"""Go back to the image that a container's present one replaced."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import acts, compose
from runbook.docker.images import images_of
from runbook.docker.named import observed, short
from runbook.docker.restart import stopping
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, Step


def observe(asking: Asking, part: str) -> dict[str, Any]:
    """Return the facts about a part's container, and image (as named), image_id, previous and previous_id (of the
    newest older image of the same repository; "" for none), and up (the Compose argv that makes it anew, or [])."""
    facts = observed(asking, part)
    told = facts.pop("inspected", None)
    if told is None:
        return facts
    images = images_of(told, asking.connection(ContainersConnection).images())
    up: list[str] = []
    named = asking.target.compose
    if facts["project"] and named is not None and named.name == facts["project"]:
        up = compose.argv(asking.target, "up", "--detach", "--no-deps", "--no-build", facts["service"])
    return {**facts, "previous": images["previous"], "previous_id": images["previous_id"], "up": up}


def draft(facts: Mapping[str, Any], part: str) -> Draft:
    """Write out how the container is made anew from the former image; the present one is kept beside it."""
    name = facts["container"]
    if facts["state"] == "absent":
        raise DoesNotApply(f"there is no container {name}: which image it ran is not known")
    if not facts["previous_id"]:
        raise DoesNotApply(f"no older image of {facts['image']} is here to go back to")
    if facts["project"] and not facts["up"]:
        raise DoesNotApply(
            f"{name} belongs to the Compose project {facts['project']}, which the profile's [compose] does not name"
        )
    return _by_compose(facts) if facts["up"] else _by_hand(facts)


def _by_compose(facts: Mapping[str, Any]) -> Draft:
    up = list(facts["up"])
    kept = _kept_name(facts)
    return Draft(
        summary=f"take {facts['container']} back to image {short(facts['previous_id'])}",
        steps=(
            _tag(facts["image_id"], kept),
            _tag(facts["previous_id"], facts["image"]),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up, "container": facts["container"]}),
        ),
        blast_radius=(*_reaches(facts), f"the name {facts['image']} stands for the older image until the next build"),
        expected={"image_id": facts["previous_id"], "state": "running"},
        inverse=(
            _tag(facts["image_id"], facts["image"]),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up, "container": facts["container"]}),
        ),
    )


def _tag(image: str, name: str) -> Step:
    return Step(act="tag", shown=f"docker tag {short(image)} {name}", arguments={"image": image, "name": name})


def _kept_name(facts: Mapping[str, Any]) -> str:
    repository = facts["image"].rpartition(":")[0] if ":" in facts["image"].rpartition("/")[2] else facts["image"]
    return f"{repository}:replaced-{short(facts['image_id'])}"


def _by_hand(facts: Mapping[str, Any]) -> Draft:
    name, old = facts["container"], facts["id"]
    aside = f"{name}-replaced-{short(old)}"
    who = {"id": old, "container": name}
    return Draft(
        summary=f"take {name} back to image {facts['previous']}",
        steps=(
            *([stopping(facts)] if facts["state"] in ("running", "restarting", "paused") else []),
            _policy(old, "no"),
            Step(act="rename", shown=f"docker rename {short(old)} {aside}", arguments={"id": old, "name": aside}),
            Step(
                act="make",
                shown=f"docker create --name {name} {facts['previous']}   # with the settings of {short(old)}",
                arguments={"like": old, "name": name, "image": facts["previous_id"], "policy": facts["policy"]},
                previewed=False,
            ),
            Step(act="start", shown=f"docker start {name}", arguments={"id": name, "container": name}),
        ),
        blast_radius=(*_reaches(facts), f"the container of the present image stays, stopped, as {aside}"),
        expected={"image_id": facts["previous_id"], "state": "running"},
        inverse=(
            Step(act="remove", shown=f"docker rm --force {name}", arguments={"name": name, "unless": old}),
            Step(act="rename", shown=f"docker rename {short(old)} {name}", arguments={"id": old, "name": name}),
            _policy(old, facts["policy"]),
            Step(act="start", shown=f"docker start {short(old)}", arguments=who),
        ),
    )


def _policy(container: str, policy: str) -> Step:
    shown = f"docker update --restart {policy} {short(container)}"
    return Step(act="policy", shown=shown, arguments={"id": container, "policy": policy})


def _reaches(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        "nobody is served by it until it is ready again",
        "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits",
        "a database that the newer image has migrated stays as it is: ask its makers whether the older one can read it",
    )


def _tags(asking: Asking, arguments: Mapping[str, Any]) -> str:
    repository, tag = _parts(arguments["name"])
    with asking.connection(ContainersConnection).changing(acts.SECONDS) as engine:
        engine.tag(arguments["image"], repository, tag, force=True)
    return ""


def _parts(name: str) -> tuple[str, str]:
    if ":" in name.rpartition("/")[2]:
        repository, _, tag = name.rpartition(":")
        return repository, tag
    return name, "latest"


def _is_tagged(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    full = ":".join(_parts(arguments["name"]))
    known = asking.connection(ContainersConnection).images()
    return any(image["Id"] == arguments["image"] and full in (image.get("RepoTags") or []) for image in known)


def _makes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    with asking.connection(ContainersConnection).changing(acts.SECONDS) as engine:
        like = engine.inspect_container(arguments["like"])
        host = {**like["HostConfig"], "RestartPolicy": {"Name": arguments["policy"]}}
        own = _own_settings(like["Config"], engine.inspect_image(like["Image"]).get("Config") or {})
        settings = {**own, "Image": arguments["image"], "HostConfig": host}
        if settings.get("Hostname") == like["Id"][:12]:
            settings.pop("Hostname")  # it was made up from the old one's id
        networks = like["NetworkSettings"].get("Networks") or {}
        if host.get("NetworkMode") != "host" and networks:
            kept = {name: {"Aliases": network.get("Aliases")} for name, network in networks.items()}
            settings["NetworkingConfig"] = {"EndpointsConfig": kept}
        made = engine.create_container_from_config(settings, arguments["name"])
    return f"made {short(made['Id'])}"


def _own_settings(settings: Mapping[str, Any], of_image: Mapping[str, Any]) -> dict[str, Any]:
    """Return a container's settings without those that it has from its image: the other image has its own."""
    own = {name: value for name, value in settings.items() if value != of_image.get(name)}
    own["Env"] = [entry for entry in settings.get("Env") or [] if entry not in (of_image.get("Env") or [])]
    labels = of_image.get("Labels") or {}
    own["Labels"] = {k: v for k, v in (settings.get("Labels") or {}).items() if labels.get(k) != v}
    return own


def _is_made(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    told = asking.connection(ContainersConnection).inspect(arguments["name"])
    return told is not None and told["Id"] != arguments["like"] and told["Image"] == arguments["image"]


def _removes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = asking.connection(ContainersConnection)
    told = connection.inspect(arguments["name"])
    if told is None:
        return "it was not there"
    if told["Id"] == arguments["unless"]:
        return "it is the former one already"
    with connection.changing(acts.SECONDS) as engine:
        engine.remove_container(told["Id"], force=True)
    return ""


def _is_removed(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    told = asking.connection(ContainersConnection).inspect(arguments["name"])
    return told is None or told["Id"] == arguments["unless"]


previous_image = Change(
    name="docker.previous_image",
    title="Go back to the previous image",
    observe=observe,
    draft=draft,
    acts={
        "stop": acts.stop,
        "start": acts.start,
        "policy": acts.policy,
        "rename": acts.rename,
        "make": Act(_makes, _is_made),
        "remove": Act(_removes, _is_removed),
        "tag": Act(_tags, _is_tagged),
        "up": Act(compose.ups),
    },
    needs=(ContainersConnection,),
    watched=("engine", "container", "id", "image_id", "previous_id"),
    restored=("image_id",),
    repairs=True,
)
