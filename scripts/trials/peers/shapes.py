"""Which servers are peers of which."""

from __future__ import annotations

from dataclasses import dataclass

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")


@dataclass(frozen=True, kw_only=True)
class Line:
    """An association: the broker of `adds` holds the shovels, and reaches that of `accepts`."""

    adds: str
    accepts: str

    @property
    def ends(self) -> frozenset[str]:
        return frozenset((self.adds, self.accepts))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The servers, and the lines between them."""

    names: tuple[str, ...]
    lines: tuple[Line, ...]

    def neighbours(self, name: str) -> list[str]:
        """The peers of a server."""
        return sorted(other for line in self.lines if name in line.ends for other in line.ends - {name})

    def line(self, one: str, other: str) -> Line:
        return next(line for line in self.lines if line.ends == {one, other})


def ring(servers: int) -> Shape:
    """Each adds the next one; the last one adds the first."""
    names = NAMES[:servers]
    nexts = (*names[1:], names[0])
    return Shape(
        names=names, lines=tuple(Line(adds=one, accepts=other) for one, other in zip(names, nexts, strict=True))
    )


def star(servers: int) -> Shape:
    """All others add the first one, and know nothing of each other."""
    centre, *others = NAMES[:servers]
    return Shape(names=(centre, *others), lines=tuple(Line(adds=one, accepts=centre) for one in others))


SHAPES = {"ring": ring, "star": star}
