from __future__ import annotations

import re

import pytest

from broker.api.ui.page import FOLDER, MEDIA_TYPES
from tests.unit.broker.api.conftest import Client


async def test_the_page_needs_no_key_and_lets_nothing_but_its_own_files_run(api: Client) -> None:
    answer = await api("GET", "/ui", key=None)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")


@pytest.mark.parametrize("name", MEDIA_TYPES)
async def test_each_file_has_its_type(api: Client, name: str) -> None:
    answer = await api("GET", f"/ui/{name}", key=None)
    assert answer.headers["content-type"].startswith(MEDIA_TYPES[name])
    assert answer.content == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", ["page.py", "..%2Fpage.py", "static", "page.html"])
async def test_another_file_is_not_served(api: Client, name: str) -> None:
    assert (await api("GET", f"/ui/{name}", key=None)).status == 404


def test_every_file_is_served_and_names_no_other_host() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {*MEDIA_TYPES, "page.html"}
    for name in files:
        text = (FOLDER / name).read_text()
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == [], name


def test_no_text_becomes_markup_and_no_key_an_address() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|\.cookie", text
        )
    page = (FOLDER / "page.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", page)
