"""pika's connection with a receiving side that is made for large messages.

pika 1.x reads a socket 4 KiB at a time and copies what it has of a frame (up to 128 KiB) at each of these reads.
This reads up to READ bytes at a time, and passes on what has come of a body at once, without copying it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pika import exceptions, frame, spec
from pika.adapters.select_connection import SelectConnection

READ = 2**19
"""bytes asked of the socket at a time"""
_HEADER = struct.Struct(">BHL")
"""of a frame, AMQP 0-9-1 section 2.3.5: type, channel, size of the payload; an octet ends the frame"""


class BulkConnection(SelectConnection):
    """A SelectConnection; it is used in the same way. It overrides private methods that pika has had since 1.0."""

    _frame_buffer: bytes
    bytes_received: int

    if TYPE_CHECKING:

        def _process_frame(self, value: object) -> None: ...
        def _terminate_stream(self, error: Exception | None) -> None: ...

    def cut(self, why: str) -> None:
        """End the connection without a word: in good order that waits for all that the broker was told before."""
        self._terminate_stream(exceptions.StreamLostError(why))

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = READ
        self._left, self._left_channel = 0, 0  # of a body frame that has come in part, with its end
        super()._proto_connection_made(transport)  # type: ignore[misc]

    def _on_data_available(self, data_in: bytes) -> None:
        if self._frame_buffer:
            data_in = self._frame_buffer + data_in
            self._frame_buffer = b""
        self.bytes_received += len(data_in)
        position, view = 0, memoryview(data_in)
        while position < len(data_in):
            if self._left == 0 and not self._at_body(data_in, position):
                consumed, value = frame.decode_frame(data_in[position:] if position else data_in)
                if value is None:
                    break
                position += consumed
                self._process_frame(value)
                continue
            if self._left == 0:
                _, self._left_channel, size = _HEADER.unpack_from(data_in, position)
                self._left = size + spec.FRAME_END_SIZE
                position += spec.FRAME_HEADER_SIZE
            position += self._pass_on(view[position : position + self._left])
        self._frame_buffer = data_in[position:]

    @staticmethod
    def _at_body(data: bytes, position: int) -> bool:
        return data[position] == spec.FRAME_BODY and len(data) - position >= spec.FRAME_HEADER_SIZE

    def _pass_on(self, part: memoryview) -> int:
        """Pass on what has come of a body frame, as if it were a frame by itself; the bytes that it took."""
        self._left -= len(part)
        if self._left == 0:
            if part[-1:] != bytes([spec.FRAME_END]):
                raise exceptions.InvalidFrameError("Invalid FRAME_END marker")
            payload = part[:-1]
        else:
            payload = part
        if len(payload):
            self._process_frame(frame.Body(self._left_channel, payload))  # type: ignore[arg-type]
        return len(part)
