"""The log of an attempt: capped, and read bit by bit while it grows."""

from __future__ import annotations

from distren.worker.transcript import KEPT, Transcript

LINE = "x" * 999


def test_what_is_read_bit_by_bit_is_the_whole() -> None:
    transcript, read, position = Transcript(), b"", 0
    for number in range(300):
        transcript.add(f"line {number}")
        if number % 7 == 0:
            piece, position = transcript.since(position, 10**6)
            read += piece
    piece, position = transcript.since(position, 10**6)
    assert read + piece == transcript.text()
    assert transcript.since(position, 10**6) == (b"", position)


def test_a_piece_ends_with_a_line_and_is_small_unless_the_line_is_long() -> None:
    transcript = Transcript()
    for line in ("ab", "cd", "e" * 50, "f"):
        transcript.add(line)
    pieces, position = [], 0
    while (found := transcript.since(position, 6))[0]:
        pieces.append(found[0])
        position = found[1]
    assert pieces == [b"ab\ncd\n", b"e" * 50 + b"\n", b"f\n"]


def test_whoever_reads_late_is_told_how_much_is_cut_out() -> None:
    transcript = Transcript()
    for _ in range(KEPT // 1000):
        transcript.add(LINE)
    _, early = transcript.since(0, KEPT)
    for _ in range(2 * KEPT // 1000 + 100):
        transcript.add(LINE)
    read, position = b"", 0
    while (found := transcript.since(position, 64 * 1024))[0]:
        assert len(found[0]) < 65 * 1024
        read += found[0]
        position = found[1]
    assert read == transcript.text()
    assert b"bytes are cut out here" in read
    assert transcript.since(early, 2 * KEPT)[0] == read[early:]
    late, after = transcript.since(early + 10_000, 2 * KEPT)
    cut = int(read.split(b"... ")[1].split()[0])
    assert late.startswith(f"... {cut - 10_000} bytes".encode())
    assert after == position
