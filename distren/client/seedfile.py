"""Writes a seed as one tarball, which `distren submit` takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from distren.client.fetch import check_writable, is_bundle
from distren.client.seed import Seed
from distren.errors import InputError, OutputError
from distren.jobfile.words import FILE_NAME
from distren.tarballs.compress import ENDINGS, compressed
from distren.tarballs.writer import Member, write_tarball


def write_seed(seed: Seed, target: Path) -> int:
    """Write `seed` to `target`, compressed as its name says, and return the bytes of the tarball.

    The job file comes first, the others in the order of their paths: the same seed gives the same bytes. `target`
    itself is left out of a seed that holds it. It appears complete or not at all. Raises InputError, OutputError.
    """
    if not is_bundle(target):
        raise InputError(f"{target} is no name for a tarball: give one that ends in {', '.join(ENDINGS)}")
    check_writable(target)
    own = target.resolve()
    paths = sorted(seed.files, key=lambda path: (path != FILE_NAME, path))
    sources = [(path, seed.files[path]) for path in paths]
    members = [Member(path=path, source=one) for path, one in sources if isinstance(one, bytes) or not _is(one, own)]
    resolved = [Member(path=one.path, source=_followed(one.source)) for one in members]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".distren-pack-", dir=target.parent) as folder:
            finished = Path(folder) / "seed"
            with compressed(finished, target.name) as stream:
                write_tarball(stream, resolved)
            finished.replace(target)
        return target.stat().st_size
    except OSError as error:
        raise OutputError(f"{target} can not be written: {error.strerror or error}") from error


def _is(path: Path, own: Path) -> bool:
    return path.resolve() == own


def _followed(source: Path | bytes) -> Path | bytes:
    """Links inside the seed count as the files that they lead to."""
    return source if isinstance(source, bytes) else source.resolve()
