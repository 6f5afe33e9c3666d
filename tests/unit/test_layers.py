"""The layer rule: a module of DistRen imports only from lower layers, and no modules import each other in a circle.

Imports are read from the source with `ast`, those inside functions too, so nothing has to be importable.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import distren

LAYERS = (
    {"errors", "config", "limits", "urls", "resources", "failpoints"},
    {"domain"},
    {"wire", "jobfile", "tarballs", "renderers"},
    {"amqp", "storage", "broker"},
    {"client"},
    {"federation"},
    {"server"},
    {"worker"},
    {"web"},
    {"cli"},
)
"""Low to high. Parts of one layer may import each other, as long as no circle comes of it."""
FACE = "distren"
"""The package's own `__init__`, the face to users: it may import anything; DistRen itself imports only its version."""


def modules(package: Path) -> dict[str, ast.Module]:
    """The parsed source of every module of `package`, by dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(inside[:-1] if inside[-1] == "__init__" else inside)
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def imported(name: str, tree: ast.Module, known: Mapping[str, ast.Module], is_package: bool) -> Iterator[str]:
    """The modules of DistRen that module `name` imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == FACE)
        elif isinstance(node, ast.ImportFrom):
            base = _base(name, node, is_package)
            if base.split(".")[0] == FACE:
                for alias in node.names:
                    if (base, alias.name) == (FACE, "__version__"):
                        continue
                    inner = f"{base}.{alias.name}"
                    yield inner if inner in known else base


def _base(name: str, node: ast.ImportFrom, is_package: bool) -> str:
    """The module that a `from ... import` names, relative dots resolved."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, node.module] if node.module else parts)


def graph(known: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Who imports whom."""
    packages = {name.rpartition(".")[0] for name in known}
    return {name: set(imported(name, tree, known, name in packages)) - {name} for name, tree in known.items()}


def violations(imports: Mapping[str, set[str]]) -> list[str]:
    """One line for each import that goes up, for each part without a layer, and for each import of the face."""
    wrong = []
    for name, targets in sorted(imports.items()):
        if name == FACE:
            continue
        if _layer(name) is None:
            wrong.append(f"{name} belongs to no layer: add its part to LAYERS")
            continue
        for target in sorted(targets):
            if target == FACE:
                wrong.append(f"{name} imports from the package's face: import the module that defines it")
            elif (_layer(target) or 0) > (_layer(name) or 0):
                wrong.append(f"{name} imports {target} of a higher layer")
    return wrong


def _layer(name: str) -> int | None:
    part = name.split(".")[1]
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def cycle(imports: Mapping[str, set[str]]) -> list[str]:
    """The modules of one import cycle in order, or nothing where there is none."""
    finished: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished:
            return []
        path.append(name)
        for target in sorted(imports.get(name, ())):
            if found := visit(target):
                return found
        finished.add(path.pop())
        return []

    return next((found for name in sorted(imports) if name != FACE and (found := visit(name))), [])


def made_up(**sources: str) -> dict[str, set[str]]:
    """The graph of a package that is only imagined; `__` in a name stands for a dot."""
    return graph({name.replace("__", "."): ast.parse(source) for name, source in sources.items()})


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return graph(modules(Path(distren.__file__).parent))


def test_every_module_imports_only_from_its_own_or_a_lower_layer(imports: dict[str, set[str]]) -> None:
    assert len(imports) > 20
    assert violations(imports) == []


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    assert cycle(imports) == []


def test_every_layer_lists_parts_that_exist(imports: dict[str, set[str]]) -> None:
    parts = {name.split(".")[1] for name in imports if name != FACE}
    assert set().union(*LAYERS) == parts


@pytest.mark.parametrize(
    "source",
    [
        "from distren.server import daemon",
        "import distren.server.daemon",
        "from distren.server.daemon import Server",
        "from ..server import daemon",
        "def later() -> None:\n    from distren.server.daemon import Server",
        "try:\n    import distren.server.daemon as there\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_of_a_higher_layer_is_found(source: str) -> None:
    found = violations(made_up(distren__domain="", distren__domain__job=source, distren__server__daemon=""))
    assert len(found) == 1
    assert found[0].startswith("distren.domain.job imports distren.server")


def test_an_import_of_a_lower_layer_is_no_violation() -> None:
    source = "from distren.domain import job\nfrom distren.errors import DistrenError\nimport json"
    assert violations(made_up(distren__server__daemon=source, distren__domain__job="", distren__errors="")) == []


def test_a_part_without_a_layer_is_found() -> None:
    assert violations(made_up(distren__misc__things="")) == [
        "distren.misc.things belongs to no layer: add its part to LAYERS"
    ]


def test_an_import_from_the_packages_face_is_found() -> None:
    found = violations(made_up(distren="", distren__cli__main="from distren import Farm"))
    assert found == ["distren.cli.main imports from the package's face: import the module that defines it"]
    assert violations(made_up(distren="", distren__cli__main="from distren import __version__")) == []


def test_a_circle_is_found_also_through_a_function() -> None:
    found = cycle(
        made_up(
            distren__domain__a="from distren.domain import b",
            distren__domain__b="import distren.domain.c",
            distren__domain__c="def f() -> None:\n    from .a import thing",
        )
    )
    assert found == ["distren.domain.a", "distren.domain.b", "distren.domain.c", "distren.domain.a"]
