"""DistRen: a render farm whose nervous system is RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distren.client.farm import Farm, Job

    __version__: str

__all__ = ["Farm", "Job", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the client, and look for the version, only when asked: a worker or a server starts without the one."""
    if name == "__version__":
        from importlib.metadata import version

        return version("distren")
    if name in ("Farm", "Job"):
        from distren.client import farm

        return getattr(farm, name)
    raise AttributeError(f"module 'distren' has no attribute '{name}'")
