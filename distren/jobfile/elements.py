"""Small questions about elements of XML, and how much of them an error shows."""

from __future__ import annotations

from functools import lru_cache

from lxml import etree

_SHOWN = 60


def name_of(element: etree._Element) -> tuple[str, str]:
    """Namespace (empty for none) and local name."""
    return _parts(element.tag)


@lru_cache(maxsize=1024)
def _parts(tag: object) -> tuple[str, str]:
    space, brace, name = str(tag).rpartition("}")
    return space[1:] if brace else "", name


class NoCanonicalForm(ValueError):
    """An element that has no canonical form; the message says what to write instead."""


def canonical(element: etree._Element) -> str:
    """Exclusive canonical XML: the element with every namespace that it uses, whatever was around it.

    Raises NoCanonicalForm: a namespace that is no absolute URI has none.
    """
    try:
        return etree.tostring(element, method="c14n", exclusive=True, with_comments=True, with_tail=False).decode()
    except etree.C14NError as error:
        name = short(name_of(element)[1])
        raise NoCanonicalForm(
            f"<{name}> uses a namespace that is no absolute URI: write urn:..., for example"
        ) from error


def loose_text(element: etree._Element) -> str | None:
    """Text between the elements in it: it means nothing, so somebody meant something else."""
    texts = [element.text, *(node.tail for node in element)]
    return next((text.strip() for text in texts if text and text.strip()), None)


def short(text: str) -> str:
    """`text` as an error shows it: printable, and cut."""
    flat = "".join(char if char.isprintable() else "?" for char in text)
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}..."
