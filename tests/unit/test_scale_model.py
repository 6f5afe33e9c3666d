"""The paper model: what its page says is what its script computes, and it computes what can be checked by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("scale_model", ROOT / "scripts/scale_model.py")
assert SPEC is not None
assert SPEC.loader is not None
scale_model = importlib.util.module_from_spec(SPEC)
sys.modules["scale_model"] = scale_model
SPEC.loader.exec_module(scale_model)


def test_the_page_holds_what_the_script_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scale_model.py"])
    scale_model.main()
    page = (ROOT / "docs/scale-model.md").read_text(encoding="utf-8")
    assert page.split("compares it -->\n\n")[1].split("\n<!-- end -->")[0] == capsys.readouterr().out


def test_a_federation_of_known_size() -> None:
    farm = scale_model.Farm(
        servers=10, workers=100, frames=12_000, seconds=10.0, result=1.0, inputs=0.0, job=100, lent=0.0
    )
    assert farm.frames_per_s == pytest.approx(2.0)
    assert farm.hours == pytest.approx(12_000 / 20 / 3_600)
    assert farm.blob_bytes == pytest.approx(2.0)
    assert farm.writes == pytest.approx(2.0 * scale_model.WRITES_PER_FRAME + 10 / 5 / 12)
    assert farm.limits()["server: changes of frames"] == pytest.approx(2.0 / scale_model.FRAMES)
