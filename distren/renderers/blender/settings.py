"""The settings of a Blender job. What is not given stays as the .blend says."""

from __future__ import annotations

from distren.renderers.declaration import SWITCH, TILE, Declaration, Kind, Setting

PASSES = (
    "z", "mist", "position", "normal", "vector", "uv", "object_index", "material_index", "ao", "shadow", "emission",
    "environment", "diffuse_direct", "diffuse_indirect", "diffuse_color", "glossy_direct", "glossy_indirect",
    "glossy_color", "transmission_direct", "transmission_indirect", "transmission_color", "cryptomatte_object",
    "cryptomatte_material", "cryptomatte_asset",
)  # fmt: skip
"""what workers/blender/passes.py knows"""
_NAME = r"[^\x00-\x1f]{1,63}"
_FILES = "as the file says"
_SEVERAL = rf"(?:{'|'.join(PASSES)})(?:,(?:{'|'.join(PASSES)}))*"

DECLARATION = Declaration(
    title="Blender",
    about="Cycles, EEVEE and Workbench; a scene stays loaded from frame to frame",
    endings=(".blend",),
    needed=("blend",),
    settings=(
        Setting(name="blend", kind=Kind.PATH, meaning="the .blend in the seed", default="filled in by submit"),
        Setting(name="scene", kind=Kind.TEXT, pattern=_NAME, write="the name of a scene", meaning="the scene to render",
                default="the one that was open when the file was saved"),
        Setting(name="view_layer", kind=Kind.TEXT, pattern=_NAME, write="the name of a view layer",
                meaning="the only view layer to render", default=_FILES),
        Setting(name="camera", kind=Kind.TEXT, pattern=_NAME, write="the name of a camera",
                meaning="the camera, whatever markers say", default=_FILES),
        Setting(name="engine", words=("cycles", "eevee", "workbench"), meaning="the render engine", default=_FILES),
        Setting(name="device", words=("file", "auto", "cpu", "gpu", "optix", "cuda", "hip", "oneapi", "metal"),
                meaning="what Cycles renders on: auto takes a graphics card where there is one; each slot gets its own",
                default="file"),
        Setting(name="samples", kind=Kind.WHOLE, lowest=1, highest=16_777_216,
                meaning="samples of a pixel (Cycles, EEVEE)", default=_FILES),
        Setting(name="seed", kind=Kind.WHOLE, lowest=0, highest=2**31 - 1, meaning="where Cycles' noise begins",
                default=_FILES),
        Setting(name="denoise", words=SWITCH, meaning="whether Cycles denoises", default=_FILES),
        Setting(name="percentage", kind=Kind.WHOLE, lowest=1, highest=1000,
                meaning="per cent of the job's size that images have", default="100"),
        Setting(name="format", words=("png", "jpg", "exr", "multilayer", "tif", "webp", "hdr", "bmp", "tga"),
                meaning="format of the images; multilayer is one EXR with all layers and passes",
                default="as the file says, PNG where that is a film"),
        Setting(name="color_mode", words=("bw", "rgb", "rgba"), meaning="channels of the images", default=_FILES),
        Setting(name="color_depth", words=("8", "10", "12", "16", "32"), meaning="bits of a channel", default=_FILES),
        Setting(name="exr_codec", words=("none", "zip", "zips", "rle", "piz", "pxr24", "dwaa", "dwab", "b44", "b44a"),
                meaning="compression of EXR", default=_FILES),
        Setting(name="quality", kind=Kind.WHOLE, lowest=0, highest=100, meaning="quality of JPEG and WebP",
                default=_FILES),
        Setting(name="compression", kind=Kind.WHOLE, lowest=0, highest=100, meaning="compression of PNG",
                default=_FILES),
        Setting(name="dither", kind=Kind.NUMBER, lowest=0, highest=2, default=_FILES,
                meaning="noise against banding in 8 bits; with 0, tiles make up exactly the whole image"),
        Setting(name="transparent", words=SWITCH, meaning="whether the world is transparent", default=_FILES),
        Setting(name="motion_blur", words=SWITCH, meaning="whether there is motion blur", default=_FILES),
        Setting(name="passes", kind=Kind.TEXT, pattern=_SEVERAL, write=f"some of {', '.join(PASSES)}, with ',' between",
                meaning="passes to have beside the image", default=_FILES),
        Setting(name="pass_files", words=("together", "separate"), default="together",
                meaning="separate writes each pass to an EXR of its own; together leaves it to the format multilayer"),
        Setting(name="threads", kind=Kind.WHOLE, lowest=0, highest=1024, meaning="threads of a render, 0 for all cores",
                default=_FILES),
        Setting(name="persistent", words=SWITCH, default=_FILES,
                meaning="whether Blender keeps what it has prepared for the next frame (persistent data)"),
        Setting(name="missing", words=("error", "ignore"), default="error",
                meaning="what becomes of a job whose textures, libraries or caches are missing"),
        Setting(name="scripts", words=("worker", "ignore"), default="worker",
                meaning="ignore renders a scene that is driven by Python though the worker does not run that"),
        *TILE,
    ),
)  # fmt: skip
