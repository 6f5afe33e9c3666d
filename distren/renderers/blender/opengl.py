"""Whether OpenGL can be had without a display, through EGL: EEVEE and Workbench need it.

Run as a program it tries, since a driver that crashes must not take a worker with it; imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys

LIBRARY = "libEGL.so.1"
_WITHIN = 30.0
"""seconds"""
_SURFACELESS = 0x31DD
"""EGL_PLATFORM_SURFACELESS_MESA, of the extension EGL_MESA_platform_surfaceless; renders see no display"""


def is_here(library: str | None = None) -> bool:
    """Whether a render would have OpenGL; takes a tenth of a second."""
    try:
        ran = subprocess.run(
            (sys.executable, "-I", "-S", __file__, library or LIBRARY),
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0


def _initializes(library: str) -> bool:
    try:
        egl = ctypes.CDLL(library)
        egl.eglGetPlatformDisplay.restype = ctypes.c_void_p
        egl.eglGetPlatformDisplay.argtypes = (ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
        egl.eglInitialize.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    except (OSError, AttributeError):
        return False
    display = egl.eglGetPlatformDisplay(_SURFACELESS, None, None)
    return bool(display and egl.eglInitialize(display, None, None))


if __name__ == "__main__":
    sys.exit(0 if _initializes(sys.argv[1]) else 1)
