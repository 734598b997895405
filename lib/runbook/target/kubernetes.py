"""What a profile says of a Kubernetes cluster: how it is reached, and what of it belongs to the target."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from runbook.target.addresses import Folder

_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Label = Annotated[str, Field(pattern=_LABEL)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class _Strict(BaseModel):
    # hide_input: as for the rest of a profile, an error must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsSecret(_Strict):
    """The secret of type kubernetes.io/tls that the cluster serves the certificate from, and the files it is made of.

    Both lie on the machine that runs the notebooks.
    """

    name: Name
    file: Folder
    key_file: Folder


class Kubernetes(_Strict):
    """The cluster that the service runs in.

    ``context`` is one of ``kubeconfig`` (else of KUBECONFIG or ~/.kube/config). It is named here, since the current one
    of a kubeconfig is whatever somebody used last. With ``in_cluster`` the runbook runs in a pod of the cluster
    itself, and is who its service account is. ``autoscaler`` is the name of the HorizontalPodAutoscaler.
    """

    context: str | None = Field(None, min_length=1, max_length=253)
    kubeconfig: Folder | None = None
    in_cluster: bool = False
    namespace: Label
    deployment: Name = "shrimp-api"
    autoscaler: Name = "shrimp-api-hpa"
    tls_secret: TlsSecret | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.context is None) == (not self.in_cluster):
            raise PydanticCustomError(
                "one_cluster", "name the context of a kubeconfig, or say in_cluster = true: one of them"
            )
        if self.in_cluster and self.kubeconfig is not None:
            raise PydanticCustomError("one_cluster", "with in_cluster = true no kubeconfig is read")
        return self

    @property
    def where(self) -> tuple[str, ...]:
        """Return the words by which kubectl is led to the same place."""
        config = ("--kubeconfig", str(self.kubeconfig)) if self.kubeconfig is not None else ()
        context = ("--context", self.context) if self.context is not None else ()
        return (*config, *context, "--namespace", self.namespace)
