"""Finds the rabbitmq-server program of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from distren.errors import SettingsError

VARIABLE = "DISTREN_RABBITMQ_SERVER"

# The packages' wrappers in /usr/sbin refuse every user but root and rabbitmq; what they wrap does not.
_PLACES = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
    "/opt/homebrew/sbin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
)


def find(environment: Mapping[str, str] | None = None) -> Path | None:
    """The rabbitmq-server to run, None when there is none.

    DISTREN_RABBITMQ_SERVER names another one; SettingsError when that is not a program.
    """
    named = (os.environ if environment is None else environment).get(VARIABLE)
    if named:
        if shutil.which(named) is None:
            raise SettingsError(f"{VARIABLE} names {named}, which is not a program")
        return Path(named)
    installed = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"), reverse=True)
    for place in (*map(Path, _PLACES), *installed):
        if os.access(place, os.X_OK):
            return place
    return None
