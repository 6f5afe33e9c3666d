"""References: read in any of their forms, written in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distren.errors import UrlError
from distren.urls import LARGEST_ID, Url, parse, server_name

ids = st.integers(0, LARGEST_ID)
names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True).filter(
    lambda name: any(map(str.isalpha, name))
)
urls = st.one_of(
    st.builds(Url, server=names),
    st.builds(Url, server=names | st.none(), job=ids),
    st.builds(Url, server=names | st.none(), job=ids, frame=ids),
    st.builds(Url, server=names | st.none(), job=ids, file=ids),
)


@given(urls)
def test_what_is_written_is_read_again(url: Url) -> None:
    assert parse(str(url)) == url
    assert parse(f"  {url}/ ".replace("//", "//", 1)) == url


@given(names, ids, ids)
def test_every_form_of_a_reference_is_the_same(server: str, job: int, frame: int) -> None:
    expected = Url(server=server, job=job, frame=frame)
    for text in (
        f"distren://{server}/{job}/frame/{frame}",
        f"DISTREN://{server.upper()}/{job}/frame/{frame}/",
        f"distren://{server}/job/{job}/frame/{frame}",
        f"{server}/{job}/frame/{frame}",
        f"{server}/job/{job}/frame/{frame}",
        f"{server}/00{job}/frame/0{frame}",
    ):
        assert parse(text) == expected
    assert parse(f"{job}/frame/{frame}") == Url(job=job, frame=frame)
    assert Url(job=job, frame=frame).at(server) == expected
    assert expected.at("other") == expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("17", Url(job=17)),
        ("0", Url(job=0)),
        ("007", Url(job=7)),
        ("alpha", Url(server="alpha")),
        ("alpha/17", Url(server="alpha", job=17)),
        ("distren://alpha/", Url(server="alpha")),
        ("distren://alpha", Url(server="alpha")),
        ("distren://Alpha.Example-1/17/", Url(server="alpha.example-1", job=17)),
        ("17/file/2", Url(job=17, file=2)),
        ("distren://alpha/job/17", Url(server="alpha", job=17)),
    ],
)
def test_a_reference_is_read(text: str, url: Url) -> None:
    assert parse(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "distren://",
        "distren:///17",
        "distren://17/3",
        "http://alpha/17",
        "-1",
        "alpha/-1",
        "alpha/17/frame",
        "alpha/17/frame/",
        "alpha/17/frame/x",
        "alpha/17/3",
        "alpha/17/frame/3/more",
        "alpha/17/image/3",
        "al pha/17",
        "-alpha/1",
        "alpha./1",
        "älpha/1",
        "a" * 64,
        str(2**63),
        "9" * 50,
        "1٣",
    ],
)
def test_what_is_no_reference_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UrlError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_a_server_name_is_compared_without_case() -> None:
    assert server_name("Render-01.Example") == "render-01.example"
    assert server_name("a" * 63) == "a" * 63


@pytest.mark.parametrize("text", ["", "17", "1.2", ".a", "a-", "a_b", "a" * 64, "a b", "a/b", "ä"])
def test_what_is_no_server_name_is_refused(text: str) -> None:
    with pytest.raises(UrlError, match="no server name"):
        server_name(text)


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        url = parse(text)
    except UrlError:
        return
    assert parse(str(url)) == url
