"""Runs inside Blender: which processor Cycles renders with. Each slot of a worker uses one graphics card of its own."""

from __future__ import annotations

import bpy
from looks import Unusable

KINDS = ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL")
"""The interfaces of graphics cards, the fastest for a card that several know first."""


def choose(scene, wanted: str, slot: int) -> None:
    """Have `scene` rendered on `wanted`: a kind of card, `gpu` (any), `auto` (a card if there is one), `cpu`,
    or `file` (as the file says, and on the processor where it says GPU and there is none).

    Raises Unusable, which another worker may not have to, where a card is wanted and there is none.
    """
    if scene.render.engine != "CYCLES" or wanted == "cpu":
        _use(scene, None, None)
        return
    if wanted == "file" and scene.cycles.device != "GPU":
        return
    preferences = bpy.context.preferences.addons["cycles"].preferences
    kinds = (wanted.upper(),) if wanted.upper() in KINDS else KINDS
    kind, cards = find(preferences, kinds)
    if kind is None:
        if wanted not in ("auto", "file"):
            raise Unusable(f"this worker has no graphics card for device={wanted}", permanent=False)
        _use(scene, None, None)
        return
    card = pick(cards, slot)
    for device in preferences.devices:
        device.use = device == card
    _use(scene, preferences, kind)
    print(f"slot {slot} renders on {card.name} ({kind})", flush=True)


def find(preferences, kinds) -> tuple:
    """The first of `kinds` that there are cards for, and those cards in the order of their ids; (None, [])."""
    for kind in kinds:
        try:
            cards = [one for one in preferences.get_devices_for_type(kind) or () if one.type == kind]
        except (TypeError, ValueError, RuntimeError):  # a build without this interface
            continue
        if cards:
            return kind, sorted(cards, key=lambda one: one.id)
    return None, []


def pick(cards, slot: int):
    """The card of a slot: in turns, where there are more slots than cards."""
    return cards[slot % len(cards)]


def _use(scene, preferences, kind) -> None:
    scene.cycles.device = "CPU" if kind is None else "GPU"
    if preferences is not None:
        preferences.compute_device_type = kind
