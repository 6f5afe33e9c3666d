"""The job file: what is written is read again, every error has its place and its advice, hostile XML is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from confined import SECONDS, confined
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from distren.domain import frameset
from distren.domain.frameset import FrameSet
from distren.domain.groups import Group, Output
from distren.domain.job import JobSpec, Limits
from distren.domain.needs import Needs
from distren.errors import JobFileError
from distren.jobfile.reader import find_problems, read_jobfile
from distren.jobfile.scan import JobFileLimits
from distren.jobfile.schema import SCHEMA
from distren.jobfile.writer import write_jobfile

REFERENCE = Path(__file__).parents[2] / "docs/reference/distrenjob.md"
GOOD = '<job xmlns="urn:distren:job:1" name="a" renderer="toy"><frames ids="1-3"/></job>'


def job(inside: str = '<frames ids="1"/>', attributes: str = 'name="a" renderer="toy"') -> bytes:
    return f'<job xmlns="urn:distren:job:1" {attributes}>\n  {inside}\n</job>'.encode()


def valid_by_schema(data: bytes) -> bool:
    return bool(etree.RelaxNG(etree.parse(str(SCHEMA))).validate(etree.fromstring(data)))


def refused(data: bytes, limits: JobFileLimits = JobFileLimits()) -> str:  # noqa: B008
    with pytest.raises(JobFileError) as caught:
        read_jobfile(data, limits)
    text = str(caught.value)
    assert re.match(r"distrenjob\.xml, line \d+(, column \d+)?: .", text)
    assert text.isprintable()
    assert len(text) < 400
    return text


# -- reading and writing ---------------------------------------------------------------------------------------------

xml_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))
printable = xml_text.map(str.strip).filter(lambda text: 1 <= len(text) <= 200 and text.isprintable())
frame_ids = st.integers(0, frameset.LARGEST_FRAME)
ranges = st.builds(
    lambda first, count, step: range(first, first + count * step, step), frame_ids, *[st.integers(1, 99)] * 2
)
frames = st.lists(ranges.filter(lambda ids: ids[-1] <= frameset.LARGEST_FRAME), min_size=1, max_size=5)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda key: not key.lower().startswith("xml")
)
extras = st.builds(
    lambda name, key, value, text: _element(name, key, value, text), keys, keys, xml_text, xml_text | st.just("\r\n\t ")
)
texts = st.dictionaries(keys, xml_text | st.just("two\nlines\r\t<&\">'"), max_size=5)
names = st.from_regex(r"[a-z][a-z0-9]{0,31}", fullmatch=True)
sizes = st.none() | st.integers(1, 2**50)
outputs = st.lists(
    st.builds(
        lambda path, image, width: Output(path=path, image=image, width=width if image else None),
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?(\{frame(:0[1-9])?\})?\.exr", fullmatch=True),
        st.booleans(),
        st.none() | st.integers(1, 65536),
    ),
    max_size=3,
    unique_by=lambda output: output.path,
).map(tuple)
specs = st.builds(
    JobSpec,
    name=printable,
    renderer=names,
    frames=frames.map(lambda parts: FrameSet(tuple(parts))),
    pool=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    priority=st.integers(0, 100),
    width=st.none() | st.integers(1, 65536),
    height=st.none() | st.integers(1, 65536),
    limits=st.builds(
        Limits,
        time=st.integers(1, 30 * 86400).map(lambda s: timedelta(seconds=s)),
        attempts=st.integers(1, 100),
        silence=st.none() | st.integers(1, 30 * 86400).map(lambda s: timedelta(seconds=s)),
        memory=sizes,
        output=sizes,
    ),
    outputs=outputs,
    settings=texts,
    extra=st.lists(extras, max_size=3).map(tuple),
)


def _element(name: str, key: str, value: str, text: str) -> str:
    element = etree.Element(f"{{urn:other}}{name}", {key: value}, nsmap={"o": "urn:other"})
    etree.SubElement(element, "{urn:third}inner", nsmap={"p": "urn:third"}).text = text
    return etree.tostring(element, method="c14n", exclusive=True).decode()


@st.composite
def _needing(draw: st.DrawFn) -> JobSpec:
    """A job whose frames need those with smaller ids, and those of other jobs."""
    spec = draw(specs)
    ids = draw(st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True).map(sorted))
    middle = len(ids) // 2
    lower = draw(st.lists(st.sampled_from(ids[:middle]), min_size=1, max_size=5))
    upper = draw(st.lists(st.sampled_from(ids[middle:]), min_size=len(lower), max_size=len(lower)))
    rule = st.builds(
        Needs,
        frames=st.just(FrameSet(tuple(range(number, number + 1) for number in upper))),
        needed=st.just(FrameSet(tuple(range(number, number + 1) for number in lower))),
        pairs=st.booleans(),
        job=st.none() | st.integers(0, 2**63 - 1),
    )
    named = st.builds(
        lambda one, server: one if one.job is None else replace(one, server=server), rule, st.none() | st.just("b.x-1")
    )
    return replace(spec, frames=frameset.of(ids), needs=tuple(draw(st.lists(named, max_size=4))))


@st.composite
def _grouped(draw: st.DrawFn) -> JobSpec:
    """A job with frames that have a renderer, a label, settings with or without structure, or outputs of their own."""
    spec = draw(specs)
    groups = []
    for number in range(draw(st.integers(1, 4))):
        renderer = draw(st.none() | names)
        content = draw(
            st.lists(st.builds(_content, st.just(renderer or spec.renderer), keys, keys, xml_text), max_size=2)
        )
        group = Group(
            frames=FrameSet((range(10 * number, 10 * number + draw(st.integers(1, 9)), draw(st.integers(1, 3))),)),
            renderer=renderer,
            label=draw(st.none() | printable.filter(lambda text: len(text) <= 60)),
            settings=draw(texts),
            content=tuple(content),
            outputs=draw(outputs),
        )
        groups.append(group if group != Group(frames=group.frames) else replace(group, label="same"))
    frames = draw(st.just(spec.frames) | st.just(FrameSet(())))
    content = draw(st.lists(st.builds(_content, st.just(spec.renderer), keys, keys, xml_text), max_size=2))
    return replace(spec, frames=frames, groups=tuple(groups), content=tuple(content))


def _content(renderer: str, name: str, key: str, value: str) -> str:
    """An element of a renderer's settings that holds more than text."""
    space = f"urn:distren:renderer:{renderer}:1"
    element = etree.Element(f"{{{space}}}{name}", {key: value}, nsmap={None: space})
    etree.SubElement(element, f"{{{space}}}inner").text = value
    return etree.tostring(element, method="c14n", exclusive=True).decode()


@settings(deadline=None)
@given(spec=specs | _needing() | _grouped())
def test_what_is_written_is_read_again_and_written_alike(spec: JobSpec) -> None:
    data = write_jobfile(spec)
    assert read_jobfile(data) == spec
    assert write_jobfile(read_jobfile(data)) == data
    assert valid_by_schema(data)
    assert find_problems(data) == []


def test_the_writer_lays_a_job_out_for_people() -> None:
    spec = JobSpec(
        name='"A" & B',
        renderer="povray",
        frames=frameset.parse("1-60,100-200x10"),
        width=640,
        height=360,
        limits=Limits(time=timedelta(minutes=90)),
        settings={"scene": "cube.pov", "antialias": "0.3"},
        extra=('<note xmlns="urn:elsewhere">kept</note>',),
    )
    assert write_jobfile(spec).decode().splitlines() == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<job xmlns="urn:distren:job:1" name="&quot;A&quot; &amp; B" renderer="povray" pool="default" priority="50">',
        '  <image width="640" height="360"/>',
        '  <limits time="90m" attempts="3"/>',
        '  <frames ids="1-60,100-200x10"/>',
        '  <settings xmlns="urn:distren:renderer:povray:1" antialias="0.3" scene="cube.pov"/>',
        '  <note xmlns="urn:elsewhere">kept</note>',
        "</job>",
    ]


def test_a_job_of_many_scattered_frames_is_written_and_read() -> None:
    frames = frameset.of(range(0, 400_000, 4))
    spec = JobSpec(name="a", renderer="toy", frames=frames)
    assert read_jobfile(write_jobfile(spec)).frames == frames


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a\x00b"},
        {"name": " a"},
        {"name": ""},
        {"name": "\ud800"},
        {"renderer": "Pov"},
        {"pool": '" evil="'},
        {"frames": FrameSet(())},
        {"width": 0},
        {"limits": Limits(time=timedelta(seconds=1.5))},
        {"settings": {"a b": "c"}},
        {"settings": {"a": "\x07"}},
        {"extra": ("<image xmlns='urn:distren:job:1' width='1'/>",)},
        {"extra": ("</job>",)},
        {"extra": ("<note/>",)},
    ],
)
def test_a_job_that_a_file_can_not_hold_is_not_written(change: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "a", "renderer": "toy", "frames": frameset.parse("1")}
    with pytest.raises(JobFileError):
        write_jobfile(JobSpec(**good | change))  # type: ignore[arg-type]


def test_settings_come_from_attributes_and_elements() -> None:
    spec = read_jobfile(
        job(
            '<frames ids="1"/><s:settings xmlns:s="urn:distren:renderer:toy:1" a=" 1 ">\n'
            "<s:b>\n two\nlines </s:b><!-- why --></s:settings>"
        )
    )
    assert spec.settings == {"a": " 1 ", "b": "two\nlines"}


def test_content_of_others_is_kept_as_it_is() -> None:
    inside = '<x:note xmlns:x="urn:x" xmlns:y="urn:y" y:b="2" a="1"> <y:in/>text <!-- c --></x:note>'
    other_settings = '<settings xmlns="urn:distren:renderer:blender:1" samples="9"/>'
    spec = read_jobfile(job(f'{inside}<frames ids="1"/>{other_settings}'))
    assert spec.extra == (
        '<x:note xmlns:x="urn:x" xmlns:y="urn:y" a="1" y:b="2"> <y:in></y:in>text <!-- c --></x:note>',
        '<settings xmlns="urn:distren:renderer:blender:1" samples="9"></settings>',
    )
    assert read_jobfile(write_jobfile(spec)) == spec


def test_elements_come_in_any_order_and_comments_anywhere() -> None:
    spec = read_jobfile(
        job('<!-- 1 --><frames ids="9"/><image width="3"/><?pi?><frames ids="1-2"/><limits time="2h"/>')
    )
    assert (list(spec.frames), spec.width, spec.height, spec.limits) == (
        [9, 1, 2],
        3,
        None,
        Limits(time=timedelta(hours=2)),
    )


# -- the reference ---------------------------------------------------------------------------------------------------


def test_the_examples_of_the_reference_are_good() -> None:
    examples = re.findall(r"```xml\n(.*?)```", REFERENCE.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert find_problems(example.encode()) == []
        assert valid_by_schema(example.encode())
    spec = read_jobfile(examples[0].encode())
    assert (spec.name, spec.priority, spec.limits.time) == ("Turning cube", 60, timedelta(minutes=20))
    assert list(spec.every)[-4:] == [190, 200, 201, 900000]  # 7 is in 1-60
    assert [(group.label, group.renderer, group.over(spec.work).settings) for group in spec.groups] == [
        ("poster", None, {"scene": "cube.pov", "quality": "11", "antialias": "0.1"}),
        ("trailer", "encode", {"fps": "25"}),
    ]
    assert spec.outputs[0].of(7).path == "cube007.png"
    assert (spec.limits.silence, spec.limits.memory, spec.limits.output) == (timedelta(minutes=5), 2**32, 500 * 2**20)
    assert spec.settings == {"scene": "cube.pov", "quality": "9", "antialias": "0.3"}
    assert len(spec.extra) == 1
    assert spec.needs[0].count == 60
    assert [rule.count for rule in read_jobfile(examples[2].encode()).needs] == [16, 60, 59, 3]


def test_the_error_that_the_reference_shows_is_the_one_given() -> None:
    shown = re.search(r"^    (distrenjob\.xml, line .*)$", REFERENCE.read_text("utf-8"), re.MULTILINE)
    assert shown is not None
    text = refused(job('\n  <image width="0"/><frames ids="1"/>'))
    assert text == shown[1]


# -- errors ----------------------------------------------------------------------------------------------------------

FORBIDDEN_BY_THE_SCHEMA = [
    (job(attributes='renderer="toy"'), 1, 'lacks name: write for example name="My animation"'),
    (job(attributes='name="a"'), 1, "lacks renderer"),
    (job(attributes='nam="a" name="a" renderer="toy"'), 1, 'no attribute nam: write name="..."'),
    (job(attributes='name="" renderer="toy"'), 1, "1 to 200 printable"),
    (job(attributes='name="a" renderer="Toy"'), 1, "lower-case"),
    (job(attributes='name="a" renderer="toy" pool="a b"'), 1, "letters, digits"),
    (job(attributes='name="a" renderer="toy" priority="101"'), 1, "0 to 100"),
    (job(attributes='name="a" renderer="toy" priority="high"'), 1, "0 to 100"),
    (job(attributes='name="a" renderer="toy" xml:lang="en"'), 1, "no attribute"),
    (job(""), 1, 'no frames: write for example <frames ids="1-24"/>'),
    (job("<frames/>"), 2, "lacks ids"),
    (job('<frames ids=""/>'), 2, "empty"),
    (job('<frames ids="one"/>'), 2, "no frame range"),
    (job("<frames>1-3</frames>"), 2, "lacks ids"),
    (job('<frames ids="1"><needs/></frames>'), 2, "<needs> is not known in <frames>: write <outputs>"),
    (job('<frames ids="1" render="x"/>'), 2, 'no attribute render: write renderer="..."'),
    (job('<frames ids="1"><outputs/></frames>'), 2, "holds nothing"),
    (job('<frames ids="1"/><outputs><output/></outputs>'), 2, "lacks path"),
    (job('<frames ids="1"/><outputs><output path="a" image="1"/></outputs>'), 2, "yes or no"),
    (job('<frames ids="1"/><limits memory="4GB"/>'), 2, "500M or 4G"),
    (job('<frames ids="1"/><frame ids="1"/>'), 2, "<frame> is not known here: write <frames>"),
    (job('<frames ids="1"/><camera/>'), 2, "write <frames> or <image> or <limits>"),
    (job('<frames ids="1"/><image width="1"/><image height="1"/>'), 2, "twice"),
    (job('<frames ids="1"/><image width="0"/>'), 2, "1 to 65536"),
    (job('<frames ids="1"/><image hight="1"/>'), 2, 'write height="..."'),
    (job('<frames ids="1"/><limits time="soon"/>'), 2, "90s, 20m or 2h"),
    (job('<frames ids="1"/><limits attempts="0"/>'), 2, "1 to 100"),
    (job('<frames ids="1-2"/><needs frames="2"/>'), 2, "one of all and each"),
    (job('<frames ids="1-2"/><needs frames="2" all="frame/1" each="frame/1"/>'), 2, "one of all and each"),
    (job('<frames ids="1-2"/><needs all="frame/1"/>'), 2, "lacks frames"),
    (job('<frames ids="1-2"/><needs frames="2" all="1"/>'), 2, "write frame/1-16"),
    (job('<frames ids="1"/>loose'), 1, "'loose' stands loose in <job>"),
    (job('<frames ids="1"/><note xmlns=""/>'), 2, "no namespace"),
    (b'<job name="a" renderer="toy"/>', 1, 'write <job xmlns="urn:distren:job:1"'),
    (b'<job xmlns="urn:distren:job:9" name="a" renderer="toy"/>', 1, "this version of DistRen reads urn:distren:job:1"),
    (b"<html/>", 1, "<html> is no job"),
]
FORBIDDEN_BY_MORE = [
    (job('<frames ids="1-2"/><needs frames="2" all="a/b/frame/1"/>'), 2, "not a number"),
    (job('<frames ids="5-1"/>'), 2, "write 1-5"),
    (job('<frames ids="1-5x0"/>'), 2, "step"),
    (job('<frames ids="1-2"/><needs frames="2" all="frame/2"/>'), 1, "cycle: frame/2 → frame/2"),
    (job('<frames ids="1-2"/><needs frames="1,2" each="frame/2,1"/>'), 1, "cycle: frame/1 → frame/2 → frame/1"),
    (job('<frames ids="1-2"/><needs frames="2" all="frame/1-3"/>'), 1, "frame/3, which the job does not have"),
    (job('<frames ids="1-2"/><needs frames="3" all="7/frame/1"/>'), 1, "frame/3, which the job does not have"),
    (job('<frames ids="1-3"/><needs frames="2-3" each="frame/1"/>'), 1, "each of 2 frames needs one of 1"),
    (job('<frames ids="0-99999"/><needs frames="50000-99999" all="frame/0-49999"/>'), 1, "2500000000 dependencies"),
    (job('<frames ids="0-60000"/><needs frames="60000" all="frame/0-59999"/>'), 1, "more than the 50000"),
    (job('<frames ids="1-9999999"/>'), 1, "2000000"),
    (job('<frames ids="1"/><limits time="31d"/>'), 2, "30d"),
    (job(attributes='name="a&#10;b" renderer="toy"'), 1, "printable"),
    (job('<frames ids="1"/><settings xmlns="urn:distren:renderer:toy:2"/>'), 2, "urn:distren:renderer:toy:1"),
    (job('<frames ids="1"/>' + '<settings xmlns="urn:distren:renderer:toy:1"/>' * 2), 2, "twice"),
    (job('<frames ids="1"/><settings xmlns="urn:distren:renderer:toy:1" a="1"><a>2</a></settings>'), 2, "given twice"),
    (
        job('<frames ids="1"/><settings xmlns="urn:distren:renderer:toy:1"><a xmlns="urn:b"/></settings>'),
        2,
        "no setting",
    ),
    (job('<frames ids="1"/><x xmlns="relative"/>'), 2, "no absolute URI"),
    (
        job('<frames ids="1"/><settings xmlns="urn:distren:renderer:toy:1"><a><x xmlns="y"/></a></settings>'),
        2,
        "absolute",
    ),
    (job('<frames ids="1"><x xmlns="urn:x"/></frames>'), 2, 'write <settings xmlns="urn:distren:renderer:toy:1" .../>'),
    (
        job('<frames ids="1" renderer="encode"><settings xmlns="urn:distren:renderer:toy:1"/></frames>'),
        2,
        'write <settings xmlns="urn:distren:renderer:encode:1" .../>',
    ),
    (job('<frames ids="1" label="a"/><frames ids="1-2" label="b"/>'), 1, "frame/1 is in two <frames>"),
    (job('<frames ids="1"/><limits memory="0"/>'), 2, "500M or 4G"),
    (job('<frames ids="1"/><outputs><output path="../a"/></outputs>'), 2, "'..'"),
    (job('<frames ids="1"/><outputs><output path="a{frame:4}"/></outputs>'), 2, "no other braces"),
    (job('<frames ids="1"/><outputs><output path="a"/><output path="a"/></outputs>'), 2, "there twice"),
    (job('<frames ids="1"/><outputs><output path="a" width="2"/></outputs>'), 2, 'add image="yes"'),
    (job('<frames ids="1"/><outputs><output path="a"/></outputs><outputs><output path="a"/></outputs>'), 2, "twice"),
    (job('<frames ids="1"/><settings xmlns="urn:distren:renderer:toy:1"><ä/></settings>'), 2, "no name of a setting"),
    (job('<frames ids="1"/><settings xmlns="urn:distren:renderer:toy:1">x</settings>'), 2, "loose"),
]


@pytest.mark.parametrize(("data", "line", "why"), FORBIDDEN_BY_THE_SCHEMA + FORBIDDEN_BY_MORE)
def test_an_error_names_its_line_and_what_to_write_instead(data: bytes, line: int, why: str) -> None:
    problems = find_problems(data)
    assert any(problem.line == line and why in problem.text for problem in problems), problems
    assert all("(schema)" not in problem.text for problem in problems)
    refused(data)


@pytest.mark.parametrize(("data", "line", "why"), FORBIDDEN_BY_THE_SCHEMA)
def test_the_schema_forbids_it_too(data: bytes, line: int, why: str) -> None:
    assert not valid_by_schema(data)


def test_every_problem_is_found_from_top_to_end() -> None:
    data = job('<image width="0" hight="1"/>\n<frames ids="5-1"/>\n<bad/>', 'renderer="T"')
    assert [(problem.line, problem.column) for problem in find_problems(data)] == [
        (1, 1), (1, 1), (2, 3), (2, 3), (3, 1), (4, 1),
    ]  # fmt: skip
    assert refused(data).endswith("(and 5 more)")


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (b"", 1, "empty"),
        (b"  \n", 1, "empty"),
        (b"scene", 1, "this is no XML"),
        (b"<job>\n<a></b></job>", 2, "end tag"),
        (b"<job>\n", 2, "ends before"),
        (b"<job/>\n<job/>", 2, "follows the end"),
        (b"<job a='1' a='2'/>", 1, "twice"),
        (b"<job>&nbsp;</job>", 1, "entity"),
        (b"<x:job/>", 1, "prefix"),
        (b"<job>\n a < b</job>", 2, "&lt;"),
        (b"<job>\ncaf\xe9</job>", 2, "UTF-8"),
        (GOOD.encode("utf-16"), 1, "UTF-8"),
        (b'<?xml version="1.0" encoding="latin-1"?>' + GOOD.encode(), 1, "save the file as UTF-8"),
        (b"\x00" * 100, 1, "no XML"),
    ],
)
def test_what_is_no_xml_is_refused_with_its_line(data: bytes, line: int, why: str) -> None:
    text = refused(data)
    assert f"line {line}" in text
    assert why in text


def test_a_byte_order_mark_is_forgiven() -> None:
    assert read_jobfile(b"\xef\xbb\xbf" + GOOD.encode()).name == "a"


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (f'<!DOCTYPE job [<!ENTITY l0 "ha">{LAUGHS}]><job>&l9;</job>'.encode(), "document type"),
        (b'<!DOCTYPE job [<!ENTITY x SYSTEM "file:///etc/passwd">]><job name="a">&x;</job>', "document type"),
        (b'<!DOCTYPE job SYSTEM "http://127.0.0.1:1/job.dtd"><job/>', "document type"),
        (job("<a>" * 500 + "</a>" * 500), "32 deep"),
        (job("<a/>" * 1_000_000), "200000 elements"),
        (job('<a b="' + "x" * 2_000_000 + '"/>'), "1048576 characters"),
        (job('<a b="' + "x" * 12_000_000 + '"/>'), "more than the limit of 8388608"),
        (job('<x xmlns="urn:' + "y" * 2_000_000 + '"/>'), ""),
        (job("<" + "y" * 2_000_000 + "/>"), "Name too long"),
        (job("<a " + " ".join(f'a{n}="1"' for n in range(700_000)) + "/>"), "200000 elements"),
        (job("<!---->" * 1_000_000), "200000 elements"),
        (job("<?a?>" * 1_000_000), "200000 elements"),
        (job('<x xmlns="urn:x">' + "<a b='1'>y</a>" * 90_000 + "</x>" + '<frames ids="1"/>'), ""),
        (job("<x xmlns='urn:x'/>" * 90_000 + '<frames ids="1"/>'), ""),
        (job('<frames ids="1"/>' * 90_000), ""),
        (job(f'<frames ids="{",".join("0-1999999" for _ in range(1000))}"/>'), "2000000"),
        (job('<frames ids="0-9007199254740991"/>'), "2000000"),
    ],
    ids=[
        "laughs",
        "entity",
        "dtd",
        "deep",
        "elements",
        "attribute",
        "size",
        "namespace",
        "name",
        "attributes",
        "comments",
        "instructions",
        "inside",
        "others",
        "children",
        "frames",
        "ids",
    ],
)
def test_hostile_xml_is_refused_soon(data: bytes, why: str) -> None:
    def read() -> None:
        if why:
            assert why in refused(data)
        else:  # within the limits: it may be good, and must be so soon
            find_problems(data)

    outcome = confined(read)
    assert not outcome.error, outcome
    assert outcome.processor < SECONDS


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_job_file_is_refused_or_read(data: st.DataObject) -> None:
    good = bytearray(write_jobfile(data.draw(specs)))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        spec = read_jobfile(bytes(good))
    except JobFileError:
        return
    assert valid_by_schema(bytes(good))
    assert read_jobfile(write_jobfile(spec)) == spec
