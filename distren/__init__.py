"""DistRen: a render farm whose nervous system is RabbitMQ."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distren.client.farm import Farm, Job

__all__ = ["Farm", "Job", "__version__"]
__version__ = version("distren")


def __getattr__(name: str) -> Any:
    """Import the client only when it is asked for: a worker or a server starts without it."""
    if name in ("Farm", "Job"):
        from distren.client import farm

        return getattr(farm, name)
    raise AttributeError(f"module 'distren' has no attribute '{name}'")
