"""Worker names and the folders of attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from distren.errors import Conflict, SettingsError
from distren.worker import identity, scratch


def test_workers_without_a_name_get_the_lowest_free_number(tmp_path: Path) -> None:
    first, second = identity.claim(tmp_path, None), identity.claim(tmp_path, None)
    assert (first.name, second.name) == (f"{identity.host()}-1", f"{identity.host()}-2")
    first.release()
    assert identity.claim(tmp_path, None).name == first.name


def test_a_name_that_is_in_use_on_this_host_is_refused(tmp_path: Path) -> None:
    held = identity.claim(tmp_path, "fast")
    with pytest.raises(Conflict, match="'fast' is running on this machine"):
        identity.claim(tmp_path, "fast")
    held.release()
    identity.claim(tmp_path, "fast").release()


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "x" * 81, "a b"])
def test_a_name_that_can_be_no_queue_or_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="no worker name"):
        identity.claim(tmp_path, name)


def test_only_what_killed_workers_left_is_cleaned(tmp_path: Path) -> None:
    attempts, locks = tmp_path / "attempts", tmp_path / "names"
    alive = identity.claim(locks, "alive")
    for name in ("alive", "killed"):
        scratch.Scratch(attempts, name).make("token")
    scratch.clean(attempts, locks)
    assert [path.name for path in attempts.iterdir()] == ["alive"]
    alive.release()


def test_an_attempt_folder_goes_whatever_the_renderer_left_in_it(tmp_path: Path) -> None:
    folder = scratch.Scratch(tmp_path, "w").make("token")
    locked = folder / "output" / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    (folder / "output" / "link").symlink_to("/nowhere")
    locked.chmod(0o500)
    scratch.remove_tree(folder)
    assert not folder.exists()
