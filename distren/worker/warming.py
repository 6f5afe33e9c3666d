"""Warm starts: the inputs of a frame that waits for a slot are fetched while others render."""

from __future__ import annotations

import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from distren.domain.job import Blob
from distren.errors import DistrenError
from distren.wire.frames import Render
from distren.worker.cache import InputCache

log = logging.getLogger(__name__)

_REMEMBERED = 1_000
"""inputs that are known to have been fetched: most frames need those of the frame before"""


class Warming:
    """Fetches inputs ahead, in a thread of its own. Any thread may call `begin`."""

    def __init__(self, cache: InputCache) -> None:
        self._cache = cache
        self._thread = ThreadPoolExecutor(1, "fetches inputs ahead")
        self._known: OrderedDict[str, None] = OrderedDict()

    def begin(self, render: Render) -> None:
        """Have the inputs of a frame fetched, and the results that it needs, unless that has been done before."""
        if render.manifest.digest in self._known and not render.needs:
            return
        with suppress(RuntimeError):  # the worker ends
            self._thread.submit(self._fetch, render)

    def close(self) -> None:
        """Fetch nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, render: Render) -> None:
        try:
            if render.manifest.digest not in self._known:
                with self._cache.inputs(render.manifest.value()):
                    self._known[render.manifest.digest] = None
            for _, _, digest, size in render.needs:
                with self._cache.result(Blob(digest=digest, size=size)):
                    pass
        except (DistrenError, OSError) as error:  # the attempt comes to it again, and says so
            log.debug("inputs of job %d could not be fetched ahead: %s", render.job, error)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
