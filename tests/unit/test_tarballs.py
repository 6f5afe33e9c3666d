"""Tarballs: what the writer writes is read again by us and by others; what is damaged or hostile is refused early."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from distren.errors import OutputError, TarballError
from distren.tarballs.headers import header_blocks, padded
from distren.tarballs.limits import TarLimits
from distren.tarballs.reader import read_tarball, unpack
from distren.tarballs.writer import Member, write_tarball

COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
DEFAULT = TarLimits()
SMALL = TarLimits(members=20, path_bytes=60, member_bytes=1000, total_bytes=3000, ratio=50, ratio_free_bytes=4096)


def tarball(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    write_tarball(target, [Member(path=path, source=data) for path, data in files.items()])
    return target.getvalue()


def made_by_tarfile(*members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return target.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def content(data: bytes, limits: TarLimits = DEFAULT) -> dict[str, bytes]:
    found = {}
    for entry in read_tarball(io.BytesIO(data), limits):
        with entry.open() as stream:
            found[entry.path] = stream.read()
        assert len(found[entry.path]) == entry.size
    return found


def refused(data: bytes, limits: TarLimits = DEFAULT) -> str:
    with pytest.raises(TarballError) as caught:
        content(data, limits)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def outcome(data: bytes, limits: TarLimits = DEFAULT) -> str:
    try:
        return f"{len(content(data, limits))} files"
    except TarballError as error:
        return str(error)


parts = st.text(st.characters(codec="utf-8", exclude_characters="/\\\x7f", min_codepoint=32), min_size=1, max_size=60)
paths = st.lists(parts.filter(lambda part: part not in (".", "..")), min_size=1, max_size=6).map("/".join)


@settings(deadline=None)
@given(path=paths, data=st.binary(max_size=2000), compression=st.sampled_from(sorted(COMPRESSIONS)))
def test_whatever_is_written_is_read_again(path: str, data: bytes, compression: str) -> None:
    if max(len(part.encode()) for part in path.split("/")) > 255 or len(path.encode()) > 1024:
        return
    written = tarball({path: data, "zz/last": b"end"})
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        assert archive.getnames() == [path, "zz/last"]
    assert content(COMPRESSIONS[compression](written)) == {path: data, "zz/last": b"end"}


def test_the_same_members_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"alpha")
    first = tarball({"a": b"alpha"})
    os.utime(tmp_path / "a", (1, 1))
    (tmp_path / "a").chmod(0o700)
    target = io.BytesIO()
    write_tarball(target, [Member(path="a", source=tmp_path / "a")])
    assert target.getvalue() == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        info = archive.getmember("a")
    assert (info.mtime, info.uid, info.gid, info.mode, info.uname) == (0, 0, 0, 0o644, "")


def test_gnu_tar_reads_what_we_write(tmp_path: Path) -> None:
    long = "folder/" * 30 + "ü" * 100
    (tmp_path / "x.tar").write_bytes(tarball({"a/b.png": b"123", long: b"4"}))
    listing = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", tmp_path / "x.tar"], capture_output=True, text=True, check=True
    )
    assert listing.stdout.splitlines() == ["a/b.png", long]
    assert listing.stderr == ""


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
def test_tarballs_of_gnu_tar_are_read(tmp_path: Path, form: str) -> None:
    long = "folder/" * (30 if form != "ustar" else 15) + "name.inc"
    folder = tmp_path / "seed"
    for path in ("scene.pov", long):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "empty").mkdir()
    subprocess.run(["tar", f"--format={form}", "-C", folder, "-cf", tmp_path / "x.tar", "."], check=True)
    assert content((tmp_path / "x.tar").read_bytes()) == {"scene.pov": b"scene.pov", long: long.encode()}


def test_several_compressed_streams_in_a_row_are_one_tarball() -> None:
    data = tarball({"a": os.urandom(5000)})
    for name in ("gzip", "bzip2", "xz", "zstd"):
        compress = COMPRESSIONS[name]
        assert content(compress(data[:700]) + compress(data[700:])) == content(data)


def test_an_entry_that_is_not_read_is_skipped() -> None:
    data = tarball({"a": b"1" * 5000, "b": b"2"})
    assert [(entry.path, entry.size) for entry in read_tarball(io.BytesIO(data))] == [("a", 5000), ("b", 1)]


def test_an_entry_can_not_be_read_after_the_next_one_is_asked_for() -> None:
    walk = read_tarball(io.BytesIO(tarball({"a": b"1", "b": b"2"})))
    first = next(walk)
    next(walk)
    with pytest.raises(ValueError, match="gone past a"), first.open() as stream:
        stream.read()


def test_an_empty_file_a_file_that_is_no_tarball_and_a_missing_one_each_say_so(tmp_path: Path) -> None:
    assert "empty (0 bytes)" in refused(b"")
    assert "it is no tarball" in refused(b"#version 3.7;")
    assert "it is no tarball" in refused(b"#version 3.7;" * 1000)
    assert "gzip data that holds no tarball" in refused(gzip.compress(b"scene" * 1000))
    with pytest.raises(TarballError, match=r"job\.tar: it can not be read: No such file"):
        next(read_tarball(tmp_path / "job.tar"))


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_a_tarball_cut_off_anywhere_is_refused(compression: str) -> None:
    data = tarball({"a.pov": os.urandom(700), "b/" + "n" * 150: os.urandom(1024), "c": b""})
    whole = COMPRESSIONS[compression](data)
    step = 512 if compression == "none" else 97
    for length in range(step, len(whole) - (8 if compression == "zstd" else 0), step):
        text = refused(whole[:length])
        assert "cut off" in text or "too early" in text or "extended header" in text or "no tarball" in text
    for length in range(1, len(data), 1):
        if compression == "none" and length % 512 in (1, 511):
            refused(whole[:length])


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_a_changed_byte_never_crashes_the_reader(compression: str) -> None:
    whole = COMPRESSIONS[compression](tarball({"a.pov": b"sphere" * 100, "b/" + "ü" * 70: b"2"}))
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        assert "\n" not in outcome(bytes(damaged))


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for start in (b"", tarball({"a": b"1"})[:-1024]):
        assert "\n" not in outcome(start + padded(data), SMALL)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("../up", "'..'"),
        ("a/../../up", "'..'"),
        ("a//b", "part ''"),
        ("a/./b", "part '.'"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("a\x1b[31mb", "control"),
        ("n" * 256, "longer than 255"),
        ("d/" * 600 + "f", "longer than the limit of 1024"),
    ],
)
def test_an_unsafe_path_is_refused_by_reader_and_writer(path: str, why: str) -> None:
    assert why in refused(made_by_tarfile(member("ok"), member(path)))
    with pytest.raises(TarballError, match=why.replace("(", "\\(").replace(".", "\\.")):
        tarball({path: b""})


def test_a_name_in_another_encoding_is_refused() -> None:
    info = member("caf\udce9.inc")
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(info)
    assert "not in UTF-8" in refused(target.getvalue())
    assert "not in UTF-8" in refused(made_by_tarfile(info))  # PAX with hdrcharset=BINARY


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("a/b", "a/b", "there twice"),
        ("a/b", "./a/b", "there twice"),
        ("Scene.pov", "scene.POV", "only by case"),
        ("Tex/a", "tex/b", "only by case"),
        ("straße", "STRASSE", "only by case"),
        ("e\u0301", "\u00e9", "only by case"),
        ("a", "a/b", "both a file and a folder"),
        ("a/b", "a", "both a file and a folder"),
    ],
)
def test_two_paths_that_can_not_lie_side_by_side_are_refused(first: str, second: str, why: str) -> None:
    assert why in refused(made_by_tarfile(member(first), member(second)))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "FIFO"),
        (tarfile.CONTTYPE, "type"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"V", "type"),
    ],
)
def test_a_member_that_is_neither_file_nor_folder_is_refused(kind: bytes, why: str) -> None:
    text = refused(made_by_tarfile(member("ok"), member("bad", kind, linkname="/etc/passwd")))
    assert why in text
    assert "member 2" in text


def test_a_link_with_a_long_target_is_refused() -> None:
    long = member("bad", tarfile.SYMTYPE, linkname="x" * 300)
    assert "a link" in refused(made_by_tarfile(long, format=tarfile.GNU_FORMAT))
    assert "symbolic link" in refused(made_by_tarfile(long))


def test_sparse_files_of_pax_archives_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(10**6)
    for form in ("--posix", "--format=gnu"):
        subprocess.run(["tar", form, "-S", "-C", tmp_path, "-cf", tmp_path / "x.tar", "hole"], check=True)
        assert "sparse" in refused((tmp_path / "x.tar").read_bytes())


def test_folders_with_data_and_files_with_a_slash_at_the_end_are_refused() -> None:
    folder = bytearray(header_blocks("folder", 5))
    folder[156:157] = b"5"
    assert "has data" in refused(_signed(folder) + padded(b"12345") + bytes(1024))
    assert "part ''" in refused(_signed(bytearray(header_blocks("folder/", 0))) + bytes(1024))


def _signed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    return bytes(block)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    block = bytearray(header_blocks("PaxHeader", len(records)))
    block[156:157] = kind
    return _signed(block) + padded(records)


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (b"12 path=a/b\n11 path=c/d\n", "damaged"),
        (b"12 path=a/b\n12 path=c/d\n", "can not be trusted"),
        (b"99999 path=a\n", "damaged"),
        (b"0 path=a\n", "damaged"),
        (b"-5 path=a\n", "damaged"),
        (b"path=a", "damaged"),
        (b"9 size=x\n", "damaged"),
        (b"22 GNU.sparse.major=1\n", "sparse"),
        (b"21 hdrcharset=BINARY\n", "not in UTF-8"),
        (b"8 path=\n", "empty"),
        (b"13 path=../b\n", "'..'"),
        (b"11 path=/b\n", "absolute"),
        (b"12 path=a\0b\n", "control"),
    ],
)
def test_a_trick_in_an_extended_header_is_refused(records: bytes, why: str) -> None:
    assert why in refused(pax(records) + tarball({"a": b"1"}))


def test_a_global_header_may_hold_a_comment_and_no_path() -> None:
    assert content(pax(b"16 comment=abcd\n", b"g") + tarball({"a": b"1"})) == {"a": b"1"}
    assert "can not be trusted" in refused(pax(b"12 path=a/b\n", b"g") + tarball({"a": b"1"}))


def test_two_extended_headers_for_one_member_are_refused() -> None:
    header = pax(b"12 path=a/b\n")
    assert "two extended headers" in refused(header + header + tarball({"a": b"1"}))
    assert "after an extended header" in refused(header + bytes(1024))


def test_the_size_of_an_extended_header_counts() -> None:
    large = tarball({"a": b"12345"})
    small = header_blocks("a", 0) + large[512:]
    assert content(pax(b"9 size=5\n") + small) == {"a": b"12345"}


def test_what_follows_the_end_of_the_archive_is_refused() -> None:
    data = tarball({"a": b"1"})
    assert content(data + bytes(9216)) == {"a": b"1"}
    assert "follows the end" in refused(data + data)
    assert "follows the end" in refused(data + bytes(3 * 2**20))
    assert "one block of zeroes" in refused(data[:-512] + data)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"big": bytes(1001)}, "1001 bytes, above the limit of 1000"),
        ({name: bytes(1000) for name in "abcd"}, "more bytes than the limit of 3000"),
        ({f"{number}": b"" for number in range(21)}, "more members than the limit of 20"),
        ({"n" * 61: b""}, "longer than the limit of 60"),
    ],
)
def test_each_limit_is_kept(files: Mapping[str, bytes], why: str) -> None:
    assert why in refused(tarball(files), SMALL)


def test_a_window_that_needs_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = frame.compress(tarball({"a": os.urandom(1000)})) + frame.flush()
    assert "zstd data" in refused(data)


def test_unpacking_lays_the_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tarball({"a.png": b"1", "b/c.png": b"2"}))
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")} == {
        "a.png",
        "b",
        "b/c.png",
    }
    assert (tmp_path / "out/b/c.png").read_bytes() == b"2"
    assert not (tmp_path / "out/a.png").stat().st_mode & stat.S_IXUSR
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.tar"]


@pytest.mark.parametrize("damage", ["cut", "link", "up"])
def test_a_failed_unpack_leaves_nothing_behind(tmp_path: Path, damage: str) -> None:
    good = tarball({"a": b"1" * 2000})
    bad = {
        "cut": good[:-1024],
        "link": good[:-1024] + made_by_tarfile(member("b", tarfile.SYMTYPE, linkname="/etc")),
        "up": good[:-1024] + made_by_tarfile(member("../b")),
    }[damage]
    with pytest.raises(TarballError):
        unpack(io.BytesIO(bad), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unpacking_over_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    data = tarball({"a": b"1"})
    with pytest.raises(OutputError, match="not empty"):
        unpack(io.BytesIO(data), tmp_path)
    assert (tmp_path / "keep").read_text() == "mine"
    with pytest.raises(OutputError, match="No such file"):
        unpack(io.BytesIO(data), tmp_path / "missing/out")


def test_the_writer_follows_no_links_and_reads_no_pipes(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("link", "it is a link"), ("pipe", "no regular file"), ("none", "No such file")):
        with pytest.raises(TarballError, match=why):
            write_tarball(io.BytesIO(), [Member(path="a", source=tmp_path / name)])


def test_a_file_of_more_than_8_gib_gets_an_extended_header() -> None:
    blocks = header_blocks("large.exr", 9 * 2**30)
    with tarfile.open(fileobj=io.BytesIO(blocks + bytes(1024)), mode="r:", ignore_zeros=False) as archive:
        info = archive.next()
    assert info is not None
    assert (info.name, info.size) == ("large.exr", 9 * 2**30)
    assert "above the limit" in refused(blocks + bytes(1024), SMALL)
