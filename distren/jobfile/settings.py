"""Reads what a renderer is told: a <settings> element in the renderer's own namespace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lxml import etree

from distren.jobfile.elements import NoCanonicalForm, canonical, loose_text, name_of, short
from distren.jobfile.words import KEY, SETTINGS

Complain = Callable[[etree._Element, str], None]


@dataclass(kw_only=True)
class Told:
    """What a renderer is told: texts by their names, and the elements that hold more than text, as canonical XML."""

    settings: dict[str, str] = field(default_factory=dict)
    content: list[str] = field(default_factory=list)


def read(element: etree._Element, complain: Complain) -> Told:
    """What `element` says; `complain` is called for all that is wrong in it."""
    told = Told()
    if loose := loose_text(element):
        complain(element, f"'{short(loose)}' stands loose in <{SETTINGS}>: delete it")
    for key, value in element.attrib.items():
        _add(told, element, str(key), str(value), complain)
    space = name_of(element)[0]
    for child in element.iterchildren("*"):
        child_space, key = name_of(child)
        if child_space != space:
            complain(child, f"<{short(key)}> is no setting: write <name>text</name>, or an attribute")
        elif len(child) or child.attrib:
            try:
                told.content.append(canonical(child))
            except NoCanonicalForm as error:
                complain(child, str(error))
        else:
            _add(told, child, key, (child.text or "").strip(), complain)
    return told


def _add(told: Told, element: etree._Element, key: str, value: str, complain: Complain) -> None:
    if not KEY.fullmatch(key):
        complain(element, f"'{short(key)}' is no name of a setting: use letters, digits, '.', '-' and '_'")
    elif key in told.settings:
        complain(element, f"the setting {key} is given twice: keep one of them")
    else:
        told.settings[key] = value
