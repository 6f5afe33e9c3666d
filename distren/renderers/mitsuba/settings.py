"""The settings of a Mitsuba job."""

from __future__ import annotations

from distren.renderers.declaration import IDENTIFIER, TILE, Declaration, Kind, Setting

INTEGRATORS = ("path", "direct", "volpath", "volpathmip", "ptracer", "depth")
PARAMETER = "param"
FORMATS = {"both": ("exr", "png"), "exr": ("exr",), "png": ("png",)}
"""what `format` may be, and the files that it means"""

DECLARATION = Declaration(
    title="Mitsuba 3",
    about="Physically based rendering of Mitsuba 3 scenes (scalar_rgb)",
    endings=(".xml",),
    needed=("scene",),
    settings=(
        Setting(
            name="scene", kind=Kind.PATH, meaning="the path of the scene in the seed", default="filled in by submit"
        ),
        Setting(
            name="spp", kind=Kind.WHOLE, lowest=1, highest=1_000_000, meaning="samples per pixel", default="the scene's"
        ),
        Setting(
            name="seed",
            kind=Kind.WHOLE,
            lowest=0,
            highest=2**30,
            meaning="of the random numbers; the frame's number is added to it, so that noise moves",
            default="0",
        ),
        Setting(
            name="integrator", words=INTEGRATORS, meaning="how light is followed", default="the scene's", option="type"
        ),
        Setting(
            name="max_depth",
            kind=Kind.WHOLE,
            lowest=1,
            highest=10_000,
            meaning="longest path of light, for `integrator`",
            default="Mitsuba's: without limit",
            option="max_depth",
        ),
        Setting(
            name="format",
            words=tuple(FORMATS),
            meaning="EXR with linear light, PNG with 8 bits, or both",
            default="both",
        ),
        Setting(
            name=PARAMETER,
            names=IDENTIFIER,
            kind=Kind.TEXT,
            pattern=r"(?![/.])(?!.*\.\.)[\w.,:+ /-]{1,200}|-?\.?\d[\d.e-]*",
            write="a number, or words without quotes and '..'",
            meaning="the value of $NAME in the scene",
            default="the scene's <default>",
        ),
        *TILE,
    ),
)
