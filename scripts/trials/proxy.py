"""A TCP proxy between a process and the broker, whose connections can be cut and turned into black holes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Literal, TypeVar

HOST = "127.0.0.1"
_CHUNK = 2**16
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset, as a cut does"""
Result = TypeVar("Result")
Way = Literal["there", "back"]
"""from whoever has connected to the proxy to its target, or the other way round"""
BOTH: tuple[Way, ...] = ("there", "back")


class Proxies:
    """The thread that all proxies live in."""

    def __init__(self) -> None:
        self._open: list[Proxy] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def open(self, target_port: int) -> Proxy:
        """A proxy to a port of the loopback address, on a free port of its own."""
        proxy = Proxy(self, target_port)
        self.call(proxy.listen())
        self._open.append(proxy)
        return proxy

    def call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run something in the thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def close(self) -> None:
        """End the thread, and every connection with it."""

        async def cancel() -> None:
            for proxy in self._open:
                proxy.close()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.wait(others)

        self.call(cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class Proxy:
    """One listening port. `cut`, `hole` and `heal` may be called from any thread."""

    def __init__(self, proxies: Proxies, target_port: int) -> None:
        self._proxies, self._target_port = proxies, target_port
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._refusing = False
        self._flowing = {way: asyncio.Event() for way in BOTH}
        for each in self._flowing.values():
            each.set()
        self._server: asyncio.Server
        self.port = 0

    # -- faults ------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection, and each new one, until `heal`."""
        self._proxies.call(self._cut())

    def hole(self, ways: Iterable[Way] = BOTH) -> None:
        """Swallow everything in these directions until `heal`, and say nothing: no end, no reset, no refusal."""
        self._proxies.call(self._hole(ways))

    def heal(self, *, drop: bool = False) -> None:
        """Let everything through again; what a black hole held back goes on, unless `drop` resets it."""
        self._proxies.call(self._heal(drop))

    # -- in the proxies' thread --------------------------------------------------------------------------------------

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    async def _cut(self) -> None:
        self._refusing = True
        self._reset_all()

    async def _hole(self, ways: Iterable[Way]) -> None:
        for way in ways:
            self._flowing[way].clear()

    async def _heal(self, drop: bool) -> None:
        if drop:
            self._reset_all()
        self._refusing = False
        for each in self._flowing.values():
            each.set()

    def _reset_all(self) -> None:
        for pair in self._pairs:
            for writer in pair:
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        for each in self._flowing.values():
            await each.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            _reset(writer)
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, far_writer, "there"), self._pump(far_reader, writer, "back"))
        except asyncio.CancelledError:  # the end of all proxies; a stream's own callback must not meet this
            pass
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Pass on until the end or an error of either side, then end the other one as well."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing[way].wait()
                writer.write(data)
                await writer.drain()
        await self._flowing[way].wait()
        with suppress(OSError, RuntimeError):
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
