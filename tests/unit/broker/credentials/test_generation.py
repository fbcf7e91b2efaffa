from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.credentials.generation import GenerationError, current, read_generation
from tests.unit.broker.certificates import make_pair
from tests.unit.broker.secret_volume import KEYS, keys_file, publish, usual_files, venue_file


def test_nothing_is_current_before_the_first_publication(tmp_path: Path) -> None:
    assert current(tmp_path) is None


def test_current_is_the_folder_that_the_link_names(tmp_path: Path) -> None:
    publish(tmp_path, 1, usual_files())
    second = publish(tmp_path, 2, usual_files())

    assert current(tmp_path) == second


def test_generation_has_token_keys_and_login(tmp_path: Path) -> None:
    files = {**usual_files(), "database.json": {"username": "v-1", "password": "pw"}}
    found = read_generation(publish(tmp_path, 7, files))

    assert found.number == 7
    assert found.venue_token is not None
    assert found.venue_token.reveal() == "token-1"
    assert found.venue_account == "101-004-1234567-001"
    assert found.database is not None
    assert (found.database.username, found.database.password.reveal()) == ("v-1", "pw")
    assert found.api_keys is not None
    assert found.api_keys.find(KEYS["flow"]) is not None
    assert found.certificate is None


def test_absent_files_are_none(tmp_path: Path) -> None:
    found = read_generation(publish(tmp_path, 1, {"venue.json": venue_file()}))

    assert (found.api_keys, found.database, found.certificate) == (None, None, None)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("venue.json", b"{", "is not JSON: line 1 column 2"),
        ("venue.json", b"[]", "is not a JSON object"),
        ("venue.json", {"token": ""}, "token is missing"),
        ("venue.json", {"token": "sécret-ünprintable"}, "token is missing or is not a printable text"),
        ("venue.json", {"token": "a\nb"}, "token is missing or is not a printable text"),
        ("venue.json", {"token": "t", "account_id": 5}, "account_id is not a text"),
        ("venue.json", b"\xff\xfe", "is not UTF-8"),
        ("api-keys.json", {"keys": {}}, "keys is missing or is not an array"),
        ("api-keys.json", {"keys": [{"id": "a", "sha256": "zz", "scopes": []}]}, "keys[0].sha256 must be 64"),
        ("api-keys.json", {"keys": [{"id": "a", "sha256": "0" * 64, "scopes": ["root"]}]}, "keys[0].scopes"),
        ("api-keys.json", {"keys": [{"id": "", "sha256": "0" * 64, "scopes": []}]}, "keys[0].id"),
        ("database.json", {"username": "u"}, "username or password is missing"),
        ("tls.crt", b"certificate", "tls.crt and tls.key come together"),
    ],
)
def test_malformed_file_is_named_and_never_shown(tmp_path: Path, file: str, content: Any, words: str) -> None:
    folder = publish(tmp_path, 3, {**usual_files(), file: content})

    with pytest.raises(GenerationError) as caught:
        read_generation(folder)

    assert (caught.value.generation, caught.value.reason) == (3, "Malformed")
    assert caught.value.secret == file.split(".", maxsplit=1)[0]
    assert words in caught.value.message
    assert "sécret" not in str(caught.value)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"version":1}', '{"version":1,"generation":"x","secrets":{}}'])
def test_malformed_manifest_is_refused(tmp_path: Path, manifest: str) -> None:
    with pytest.raises(GenerationError, match=r"manifest\.json"):
        read_generation(publish(tmp_path, 1, usual_files(), manifest=manifest))


def test_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerationError) as caught:
        read_generation(publish(tmp_path, 1, usual_files(), manifest='{"version":2}'))

    assert caught.value.reason == "UnknownFormat"


def test_certificate_with_its_key_is_taken(tmp_path: Path) -> None:
    certificate, key = make_pair("one")
    found = read_generation(publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key}))

    assert found.certificate is not None
    assert found.certificate.key.name == "tls.key"


def test_authority_comes_with_the_certificate(tmp_path: Path) -> None:
    certificate, key = make_pair("one")
    files = {**usual_files(), "tls.crt": certificate, "tls.key": key, "ca.crt": certificate}
    found = read_generation(publish(tmp_path, 1, files)).certificate

    assert found is not None
    assert found.authority is not None
    assert found.authority.name == "ca.crt"


def test_authority_that_is_none_is_refused(tmp_path: Path) -> None:
    certificate, key = make_pair("one")
    files = {**usual_files(), "tls.crt": certificate, "tls.key": key, "ca.crt": b"nothing"}

    with pytest.raises(GenerationError, match=r"ca\.crt"):
        read_generation(publish(tmp_path, 1, files))


def test_certificate_with_another_key_is_refused(tmp_path: Path) -> None:
    certificate, _ = make_pair("one")
    _, key = make_pair("two")

    with pytest.raises(GenerationError, match=r"tls\.crt and tls\.key: KEY_VALUES_MISMATCH"):
        read_generation(publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key}))


def test_folder_that_went_away_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_generation(tmp_path / "..9-gone")


@given(
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["token", "account_id", "keys", "id", "sha256", "scopes"]), inner, max_size=4
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    file=st.sampled_from(["venue.json", "api-keys.json", "database.json"]),
)
def test_any_content_is_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, file: str
) -> None:
    folder = publish(
        tmp_path_factory.mktemp("volume"),
        1,
        {**usual_files(), "database.json": {"username": "u", "password": "p"}, file: content},
    )
    try:
        assert read_generation(folder).number == 1
    except GenerationError as error:
        assert error.secret == file.split(".", maxsplit=1)[0]  # noqa: PT017 - either is right


def test_keys_of_one_holder_may_overlap_while_they_rotate(tmp_path: Path) -> None:
    two = [*keys_file(("flow",))["keys"], {"id": "flow", "sha256": "1" * 64, "scopes": ["read", "trade"]}]
    found = read_generation(publish(tmp_path, 1, {**usual_files(), "api-keys.json": {"keys": two}}))

    assert found.api_keys is not None
    assert len(found.api_keys.clients) == 2
