"""Which images of an engine nobody needs: not to run, not to go back to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A release, the one before it, and one more: what a rollback has ever gone back to.
KEEP = 3


@dataclass(frozen=True)
class Image:
    """An image: its id, its names (none where it has lost them), its size in bytes, when it was made (epoch), and why
    it is kept ("": nobody needs it).
    """

    id: str
    names: tuple[str, ...]
    bytes: int
    made: int
    kept: str

    @property
    def label(self) -> str:
        """Return what it is called: its first name, else the beginning of its id."""
        return self.names[0] if self.names else self.id.removeprefix("sha256:")[:12]


def repository(name: str) -> str:
    """Return the repository of an image's name: without its tag or digest; a registry may have a port."""
    plain = name.partition("@")[0]
    head, slash, last = plain.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def images_and_their_use(
    images: Sequence[Mapping[str, Any]], containers: Sequence[Mapping[str, Any]], keep: int = KEEP
) -> list[Image]:
    """Return each image with why it is kept, the newest first.

    Kept is what any container was made from, running or not; of each repository the newest ``keep``; and of a
    repository that a container uses the newest one that is older than what it runs: that is what a rollback goes to.
    """
    used = {str(one.get("ImageID") or one.get("Image")): _name_of(one) for one in containers}
    newest = sorted(images, key=lambda one: (-int(one.get("Created") or 0), str(one["Id"])))
    of: dict[str, list[Mapping[str, Any]]] = {}
    for image in newest:
        for place in _repositories(image):
            of.setdefault(place, []).append(image)
    why: dict[str, str] = {}
    for place, own in of.items():
        for image in own[:keep]:
            why.setdefault(str(image["Id"]), f"among the newest {keep} of {place}")
        for number, image in enumerate(own):
            if str(image["Id"]) in used and number + 1 < len(own):
                former = str(own[number + 1]["Id"])
                why[former] = f"what {used[str(image['Id'])]} would go back to"
    for image in newest:
        if str(image["Id"]) in used:
            why[str(image["Id"])] = f"{used[str(image['Id'])]} is made from it"
    return [
        Image(
            str(image["Id"]), tuple(_names(image)), int(image.get("Size") or 0), int(image.get("Created") or 0),
            why.get(str(image["Id"]), ""),
        )
        for image in newest
    ]  # fmt: skip


def _names(image: Mapping[str, Any]) -> list[str]:
    return [name for name in image.get("RepoTags") or [] if "<none>" not in name]


def _repositories(image: Mapping[str, Any]) -> list[str]:
    """Return the repositories of an image: one whose tag went to a newer one is still known by its digest."""
    digests = [name for name in image.get("RepoDigests") or [] if "<none>" not in name]
    return list(dict.fromkeys(map(repository, [*_names(image), *digests])))


def _name_of(container: Mapping[str, Any]) -> str:
    names = container.get("Names") or []
    return str(names[0]).lstrip("/") if names else str(container.get("Id", ""))[:12]
