"""jupyter_client's kernel provisioner ``runbook-fork``: a kernel from the template instead of a new interpreter."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from runbook.kernels.owner import Template, TemplateGone

NAME = "runbook-fork"
_LAUNCHER = "ipykernel_launcher"


class ForkProvisioner(LocalProvisioner):
    """Starts Python kernels of this interpreter by fork, all others as usual.

    ``template`` comes with the kernel spec's provisioner settings.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._template: Template = kwargs.pop("template")
        super().__init__(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start the kernel and return how to connect to it."""
        if cmd[0] != sys.executable or _LAUNCHER not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        arguments = cmd[cmd.index(_LAUNCHER) + 1 :]
        environment, cwd = kwargs.get("env") or dict(os.environ), kwargs.get("cwd") or Path.cwd()
        # In a thread: the template may still be importing.
        try:
            forked: Any = await asyncio.to_thread(self._template.fork, arguments, environment, os.fspath(cwd))
        except TemplateGone:
            # Slower, but it answers: whatever keeps a template from living need not keep a kernel from it.
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid = forked, forked.pid
        # Its group is its own as soon as it runs; until then there is nothing else in it.
        self.pgid = None
        return self.connection_info

    async def wait(self) -> int | None:
        """Return the exit status when there is one."""
        while self.process is not None and self.process.poll() is None:
            await asyncio.sleep(0.005)
        return await super().wait()
