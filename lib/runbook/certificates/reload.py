"""Have what serves a certificate take up the newer one that lies on the disk."""

from collections.abc import Mapping
from typing import Any

from runbook.certificates import taking_up
from runbook.certificates.on_disk import probe
from runbook.connections import TlsEndpoints
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned


def observe(asking: Asking) -> dict[str, Any]:
    """Return which endpoints serve another certificate than lies on the disk, and how they take it up.

    ``stale`` in words; ``misfits`` are those whose key does not belong to the file. Raises `DoesNotApply` where the
    profile names no file, `CouldNotFindOut` where what takes it up is not there.
    """
    rows = probe(asking).to_dict("records")
    stale = [row for row in rows if row["file"] and not row["problem"] and not row["same"]]
    return {
        "stale": ", ".join(f"{row['endpoint']} (serves {row['served']}, to be {row['on_disk']})" for row in stale),
        "misfits": ", ".join(str(row["endpoint"]) for row in stale if row["key_fits"] is False),
        "reload": taking_up.way(asking),
    }


def draft(facts: Mapping[str, Any]) -> Draft:
    """Write out the reload; raises `DoesNotApply` where there is nothing to take up, or no way to it.

    Raises `NotPlanned` where a key does not belong to the certificate that would be taken up.
    """
    if not facts["stale"]:
        raise DoesNotApply("what is served is what lies on the disk, as far as that can be seen")
    if facts["misfits"]:
        raise NotPlanned(
            f"the key on the disk does not belong to the certificate of {facts['misfits']}: mend that first"
        )
    step = taking_up.step(facts["reload"])
    if step is None:
        raise DoesNotApply("the profile names no [certificates.reload]: reload what serves it by hand")
    return Draft(
        summary=f"have the certificate on the disk served at {facts['stale']}",
        steps=(step,),
        blast_radius=("new connections get the new certificate; open ones keep the old one",),
        expected={"stale": ""},
        irreversible="the former certificate is not kept by what serves it",
    )


reload = Change(
    name="certificates.reload",
    title="Have what serves a certificate take the new one up",
    observe=observe,
    draft=draft,
    acts={taking_up.ACT: taking_up.reload_act},
    needs=(TlsEndpoints,),
    watched=("stale", "misfits", "reload"),
    patience=10.0,
    partial=True,
)
