"""docs/reference/messages.md names every message type and every field."""

from __future__ import annotations

from pathlib import Path

import pytest

from distren.wire import blobs, codec, fields, frames, jobs, lending, moves, needs, peers
from distren.wire.codec import Message

PAGE = (Path(__file__).parents[2] / "docs/reference/messages.md").read_text(encoding="utf-8")
KINDS = sorted(codec._KINDS)


def test_there_are_messages() -> None:
    assert {"blob.offer", "frame.render", "job.submit"} <= set(KINDS)
    assert all(
        module.__name__.startswith("distren.wire")
        for module in (blobs, fields, frames, jobs, lending, moves, needs, peers)
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_message_type_and_field_is_documented(name: str) -> None:
    kind: type[Message] = codec._KINDS[name]
    missing = [field for field in kind.model_fields if f"`{field}`" not in PAGE]
    assert f"`{name}`" in PAGE
    assert missing == []
