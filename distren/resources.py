"""Finds the folders that other programs read (migrations, broker, workers), in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `migrations`, `broker` or `workers`.

    In an installed wheel it lies in `distren/_files`; in a checkout beside `distren`.
    Raises FileNotFoundError when the installation lacks it.
    """
    for candidate in (_PACKAGE / "_files" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"this installation of DistRen lacks its folder '{name}': install it again")
