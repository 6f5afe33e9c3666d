"""Runs inside Blender: brings the settings of a job into the scene. What is not given stays as the file says."""

from __future__ import annotations

import bpy

ENGINES = {
    "cycles": ("CYCLES",),
    "eevee": ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE"),
    "workbench": ("BLENDER_WORKBENCH",),
}
FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "exr": "OPEN_EXR",
    "multilayer": "OPEN_EXR_MULTILAYER",
    "tif": "TIFF",
    "webp": "WEBP",
    "hdr": "HDR",
    "bmp": "BMP",
    "tga": "TARGA",
}
_MOVIES = frozenset(("AVI_JPEG", "AVI_RAW", "FFMPEG", "THEORA", "H264", "XVID"))
_OURS = ("no camera", "without OpenImageDenois", "not supported", "does not support")
"""parts of Blender's messages about what another attempt would meet again"""


class Unusable(Exception):
    """The frame can not be rendered like this; `permanent` where another attempt would fail alike."""

    def __init__(self, text: str, *, permanent: bool = True) -> None:
        super().__init__(text)
        self.permanent = permanent


def is_permanent(message: str) -> bool:
    return any(part in message for part in _OURS)


def scene(settings: dict):
    """The scene to render: the one that is named, or the one that was open when the file was saved."""
    name = settings.get("scene")
    if name is None:
        return bpy.context.scene
    return _named(bpy.data.scenes, name, "scene")


def apply(scene, settings: dict, size: list) -> None:
    """Bring `settings` into `scene`; `size` is the job's, in pixels or null. Raises Unusable."""
    _size(scene, size, settings.get("percentage"))
    _whose(scene, settings)
    _engine(scene, settings)
    _light(scene, settings)
    _format(scene, settings)
    scene.render.use_overwrite, scene.render.use_placeholder = True, False
    scene.render.use_file_extension = True
    if "persistent" in settings:
        scene.render.use_persistent_data = settings["persistent"] == "on"


def check(scene) -> None:
    """Raise Unusable for what Blender would refuse without saying so, or say in other words."""
    denoised = scene.render.engine == "CYCLES" and scene.cycles.use_denoising
    if denoised and not _can_denoise():
        raise Unusable(
            "the scene is denoised, and the Blender of this worker is built without OpenImageDenoise: "
            "render it with the setting denoise=off and more samples, or have workers use Blender's own build"
        )


def _can_denoise() -> bool:
    """Whether this Blender has OpenImageDenoise: Debian's does not."""
    try:
        import _cycles
    except ImportError:
        return True
    return getattr(_cycles, "with_openimagedenoise", True)


def _size(scene, size: list, percentage: str | None) -> None:
    """The job's size, or the file's own at its own percentage; `percentage` is of that."""
    render = scene.render
    share = render.resolution_percentage
    width, height = (
        wanted or own * share // 100
        for wanted, own in zip(size, (render.resolution_x, render.resolution_y), strict=True)
    )
    if percentage is not None:
        width, height = width * int(percentage) // 100, height * int(percentage) // 100
    # set one by one, they are held to at least 4 pixels by Blender
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    if (render.resolution_x, render.resolution_y) != (width, height):
        raise Unusable(f"Blender can not render images of {width}x{height} pixels")


def _whose(scene, settings: dict) -> None:
    """Camera and view layer."""
    if "camera" in settings:
        scene.camera = _named(bpy.data.objects, settings["camera"], "camera")
        for marker in scene.timeline_markers:
            marker.camera = None  # they would switch to another camera
    if "view_layer" in settings:
        wanted = _named(scene.view_layers, settings["view_layer"], "view layer")
        for layer in scene.view_layers:
            layer.use = layer == wanted


def _engine(scene, settings: dict) -> None:
    if "engine" in settings:
        for name in ENGINES[settings["engine"]]:
            try:
                scene.render.engine = name
                break
            except TypeError:
                continue
        else:
            raise Unusable(f"this Blender has no engine '{settings['engine']}'")
    if "samples" in settings:
        samples = int(settings["samples"])
        if scene.render.engine == "CYCLES":
            scene.cycles.samples = samples
        elif scene.render.engine in ENGINES["eevee"]:
            scene.eevee.taa_render_samples = samples


def _light(scene, settings: dict) -> None:
    """What decides how the picture is computed."""
    if "denoise" in settings:
        scene.cycles.use_denoising = settings["denoise"] == "on"
    if "seed" in settings:
        scene.cycles.seed = int(settings["seed"])
    if "transparent" in settings:
        scene.render.film_transparent = settings["transparent"] == "on"
    if "motion_blur" in settings:
        scene.render.use_motion_blur = settings["motion_blur"] == "on"
        if hasattr(scene.eevee, "use_motion_blur"):
            scene.eevee.use_motion_blur = settings["motion_blur"] == "on"
    if "dither" in settings:
        scene.render.dither_intensity = float(settings["dither"])


def _format(scene, settings: dict) -> None:
    image = scene.render.image_settings
    wanted = FORMATS.get(settings.get("format", ""))
    if wanted is None and image.file_format in _MOVIES:
        print("the file's output is a movie: its frames are rendered as PNG", flush=True)
        wanted = "PNG"
    if wanted is not None:
        if hasattr(image, "media_type"):  # Blender 5
            image.media_type = "MULTI_LAYER_IMAGE" if wanted == "OPEN_EXR_MULTILAYER" else "IMAGE"
        image.file_format = wanted
    _choose(image, "color_mode", settings.get("color_mode", "").upper(), "color_mode")
    _choose(image, "color_depth", settings.get("color_depth", ""), "color_depth")
    _choose(image, "exr_codec", settings.get("exr_codec", "").upper(), "exr_codec")
    if "quality" in settings:
        image.quality = int(settings["quality"])
    if "compression" in settings:
        image.compression = int(settings["compression"])


def _choose(image, attribute: str, value: str, setting: str) -> None:
    if value:
        try:
            setattr(image, attribute, value)
        except TypeError:
            raise Unusable(f"the format {image.file_format} has no {setting} '{value.lower()}'") from None


def _named(collection, name: str, what: str):
    found = collection.get(name)
    if found is None:
        there = ", ".join(f"'{one.name}'" for one in list(collection)[:10]) or "none"
        raise Unusable(f"the file has no {what} '{name}'; there are: {there}")
    return found
