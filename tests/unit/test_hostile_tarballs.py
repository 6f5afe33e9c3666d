"""Tarballs that somebody made to do harm, handed in as a job is: each is refused soon, in one line, in little memory.

A tarball is taken apart where it is handed in (by `submit`, `pack`, `validate`, and the Python API), and where a frame
tarball is fetched or laid before a renderer: all of them by `distren.tarballs.reader`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import zstandard
from confined import SECONDS, confined
from test_tarballs import made_by_tarfile, member, pax, tarball

from distren.client import seed
from distren.tarballs.headers import header_blocks, padded

JOB = b"""<job xmlns="urn:distren:job:1" name="a" renderer="povray"><frames ids="1"/>
<settings xmlns="urn:distren:renderer:povray:1" scene="a.pov"/></job>"""
END = bytes(1024)
GOOD = tarball({"distrenjob.xml": JOB, "a.pov": b"sphere { 0, 1 }"})[: -len(END)]
"""a tarball of a good job, without its end"""
COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zst": zstandard.compress,
}


def special(kind: bytes, **more: object) -> bytes:
    return GOOD + made_by_tarfile(member("bad", kind, **more))


def named(*names: str) -> bytes:
    return GOOD + made_by_tarfile(*(member(name) for name in names))


def other_encoding() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(member("caf\udce9.inc"))
    return GOOD + target.getvalue()


def zeroes(compress: Callable[[bytes], bytes], gigabytes: int = 10) -> bytes:
    """One file of so many GB of zeroes: the same compressed piece again and again."""
    piece = compress(bytes(100 * 10**6))
    return compress(GOOD + header_blocks("zeroes", gigabytes * 10**9)) + piece * (10 * gigabytes) + compress(END)


def expanding_header() -> bytes:
    """400 kB whose extended header expands to 400 MB."""
    block = bytearray(header_blocks("a", 400 * 10**6))
    block[156:157] = b"x"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    return gzip.compress(GOOD + bytes(block)) + gzip.compress(bytes(10**6)) * 400 + gzip.compress(END)


def million() -> bytes:
    """A million members: more than may be there have names of their own, and the rest is never looked at."""
    own = b"".join(header_blocks(f"{number}", 0) for number in range(100_001))
    rest = gzip.compress(header_blocks("same", 0) * 10_000)
    return gzip.compress(GOOD + own, 1) + rest * 90 + gzip.compress(END)


CORPUS: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute": (lambda: named("/etc/distren-hostile"), "absolute"),
    "parent": (lambda: named("../outside"), "'..'"),
    "parent inside": (lambda: named("a/../../outside"), "'..'"),
    "parent in an extended header": (lambda: GOOD + pax(b"19 path=../outside\n") + tarball({"a": b""}), "'..'"),
    "symbolic link": (lambda: special(tarfile.SYMTYPE, linkname="/etc/passwd"), "symbolic link"),
    "symbolic link inside": (lambda: special(tarfile.SYMTYPE, linkname="distrenjob.xml"), "symbolic link"),
    "hard link": (lambda: special(tarfile.LNKTYPE, linkname="/etc/passwd"), "hard link"),
    "hard link inside": (lambda: special(tarfile.LNKTYPE, linkname="distrenjob.xml"), "hard link"),
    "link with a long target": (lambda: special(tarfile.SYMTYPE, linkname="x" * 300), "symbolic link"),
    "character device": (lambda: special(tarfile.CHRTYPE), "character device"),
    "block device": (lambda: special(tarfile.BLKTYPE), "block device"),
    "fifo": (lambda: special(tarfile.FIFOTYPE), "FIFO"),
    "sparse": (lambda: special(tarfile.GNUTYPE_SPARSE), "sparse"),
    "sparse by an extended header": (lambda: GOOD + pax(b"22 GNU.sparse.major=1\n") + tarball({"a": b""}), "sparse"),
    "an extended header of 400 MB": (expanding_header, "extended header"),
    "an extended header that contradicts itself": (
        lambda: GOOD + pax(b"12 path=a/b\n12 path=c/d\n") + tarball({"a": b""}),
        "can not be trusted",
    ),
    "a global path": (lambda: GOOD + pax(b"12 path=a/b\n", b"g") + tarball({"a": b""}), "can not be trusted"),
    "twice": (lambda: named("a", "a"), "twice"),
    "twice by another way": (lambda: named("a", "./a"), "twice"),
    "a million members": (million, "more members"),
    **{
        f"10 GB of zeroes, {name}": (lambda compress=compress: zeroes(compress), "200 times as large")  # type: ignore[misc]
        for name, compress in COMPRESS.items()
    },
    "names in another encoding": (other_encoding, "not in UTF-8"),
    "names that differ by case": (lambda: named("a.inc", "A.INC"), "only by case"),
    "names that differ by their accents' form": (lambda: named("e\u0301", "\u00e9"), "only by case"),
    "a job file of another case": (lambda: named("DistRenJob.XML"), "only by case"),
    "two job files": (lambda: GOOD + tarball({"distrenjob.xml": JOB}), "twice"),
    "a second job file in a folder": (lambda: named("folder/distrenjob.xml"), "second distrenjob.xml"),
    "no job file": (lambda: tarball({"a": b"1"}), "no distrenjob.xml"),
    "a size beyond the end": (lambda: GOOD + header_blocks("a", 10**9) + padded(b"1"), "cut off"),
    "a size beyond all limits": (lambda: GOOD + header_blocks("a", 2**50), "above the limit"),
    "deep folders": (lambda: named("d/" * 600 + "f"), "longer than the limit"),
    "control characters": (lambda: named("a\x1b[2J"), "control"),
    "another archive behind it": (lambda: GOOD + END + GOOD + END, "follows the end"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where seeds are unpacked, and the tarball lies beside it."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path


def outside(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path != folder / "scratch"} | set(Path("/etc").glob("distren*"))


def refused(path: Path, why: str) -> None:
    before = outside(path.parent)
    outcome = confined(lambda: seed.pack(path))
    assert why in outcome.text
    assert outcome.error in ("TarballError", "JobFileError", "SceneError")
    assert "\n" not in outcome.text
    assert len(outcome.text) < 1_000
    assert outcome.processor < SECONDS, outcome
    assert outside(path.parent) == before  # nothing is left, in the scratch folder or beside it


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_tarball_is_refused(name: str, folder: Path) -> None:
    make, why = CORPUS[name]
    (folder / "job.tar").write_bytes(make())
    refused(folder / "job.tar", why)


def truncated() -> Iterator[bytes]:
    whole = tarball({"distrenjob.xml": JOB, "a.pov": b"sphere" * 300, "b/" + "n" * 150: b"2" * 700, "c": b""})
    for length in range(512, len(whole), 512):
        yield whole[:length]


def test_a_tarball_cut_off_at_any_block_is_refused(folder: Path) -> None:
    cuts = list(truncated())
    assert len(cuts) > 10
    for data in cuts:
        (folder / "job.tar").write_bytes(data)
        refused(folder / "job.tar", "")


def test_a_good_one_is_taken(folder: Path) -> None:
    (folder / "job.tar").write_bytes(gzip.compress(GOOD + END))
    assert confined(lambda: seed.pack(folder / "job.tar").close()).text == ""
