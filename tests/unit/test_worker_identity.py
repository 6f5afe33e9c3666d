"""Worker names and the folders of attempts."""

from __future__ import annotations

import os
import time
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


def test_a_name_that_is_looked_at_for_a_moment_is_free_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker that starts looks whether the last one of this name has left anything."""
    look = identity.try_lock(tmp_path / "fast.lock")
    assert look is not None
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(look))
    assert identity.claim(tmp_path, "fast").name == "fast"


def test_a_worker_starts_while_what_the_last_one_of_its_name_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts, locks = tmp_path / "attempts", tmp_path / "names"
    locks.mkdir()
    scratch.Scratch(attempts, "fast").make("old")
    remove, started = scratch.remove_tree, []

    def it_starts_now(folder: Path) -> None:
        started.append(identity.claim(locks, "fast"))
        scratch.Scratch(attempts, "fast").make("new")
        remove(folder)

    monkeypatch.setattr(scratch, "remove_tree", it_starts_now)
    scratch.clean(attempts, locks)
    assert len(started) == 1
    assert [path.relative_to(attempts).as_posix() for path in attempts.glob("*/*")] == ["fast/new"]


def test_what_a_worker_that_was_killed_had_not_removed_yet_goes(tmp_path: Path) -> None:
    (tmp_path / "attempts" / ".gone-1" / "token").mkdir(parents=True)
    (tmp_path / "names").mkdir()
    scratch.clean(tmp_path / "attempts", tmp_path / "names")
    assert list((tmp_path / "attempts").iterdir()) == list((tmp_path / "names").iterdir()) == []


def test_an_attempt_folder_goes_whatever_the_renderer_left_in_it(tmp_path: Path) -> None:
    folder = scratch.Scratch(tmp_path, "w").make("token")
    locked = folder / "output" / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    (folder / "output" / "link").symlink_to("/nowhere")
    locked.chmod(0o500)
    scratch.remove_tree(folder)
    assert not folder.exists()
