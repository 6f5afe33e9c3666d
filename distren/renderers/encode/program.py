"""Runs as a child process: makes a video as the file says that it is given. `encoded 12 of 48`, or `error: ...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from distren.errors import DistrenError
from distren.renderers.encode import settings as words
from distren.renderers.encode.video import write_video


def main() -> int:
    order = json.loads(Path(sys.argv[1]).read_text())
    images, settings = [Path(name) for name in order["images"]], order["settings"]

    def tell(count: int) -> None:
        print(f"encoded {count} of {len(images)}", flush=True)  # noqa: T201 - this is how the worker hears it

    try:
        write_video(
            images,
            Path(order["target"]),
            fps=float(settings.get("fps", words.FPS)),
            way=words.way(settings),
            look=words.look(settings),
            on_image=tell,
        )
    except DistrenError as error:
        print(f"error: {error}", flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
