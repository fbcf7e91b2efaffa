from __future__ import annotations

from hashlib import sha256

import pytest

from broker.api.auth.keys import ApiKeys, Quota, parse_api_keys


def test_key_is_found_by_its_hash_alone() -> None:
    digest = sha256(b"secret").hexdigest()
    keys = parse_api_keys(f'{{"keys":[{{"id":"a","sha256":"{digest.upper()}","scopes":["read","trade"]}}]}}')

    found = keys.find("secret")
    assert found is not None
    assert (found.id, found.scopes) == ("a", frozenset({"read", "trade"}))
    assert keys.find(digest) is None
    assert ApiKeys().find("secret") is None


def test_one_holder_with_different_scopes_is_refused() -> None:
    entries = ",".join(
        f'{{"id":"a","sha256":"{digit * 64}","scopes":["{scope}"]}}' for digit, scope in (("1", "read"), ("2", "admin"))
    )
    with pytest.raises(ValueError, match="'a' has entries with different scopes"):
        parse_api_keys(f'{{"keys":[{entries}]}}')


def test_quota_gives_back_with_time() -> None:
    quota = Quota(requests_per_s=10, burst=2)

    assert [quota.wait_s("a", 100.0) for _ in range(2)] == [0.0, 0.0]
    assert quota.wait_s("a", 100.0) == pytest.approx(0.1)
    assert quota.wait_s("a", 100.1) == 0.0


def test_given_back_request_was_never_counted() -> None:
    quota = Quota(requests_per_s=10, burst=1)
    assert quota.wait_s("a", 100.0) == 0.0
    quota.give_back("a")
    quota.give_back("somebody else")
    assert quota.wait_s("a", 100.0) == 0.0
    assert quota.wait_s("a", 100.0) == pytest.approx(0.1)


@pytest.mark.parametrize("place", [0, 1, 2, None])
def test_every_digest_is_compared_wherever_the_right_one_is(monkeypatch: pytest.MonkeyPatch, place: int | None) -> None:
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("broker.api.auth.keys.hmac.compare_digest", compare)
    digests = [sha256(str(number).encode()).hexdigest() for number in range(3)]
    entries = ",".join(f'{{"id":"{digest[:4]}","sha256":"{digest}","scopes":["read"]}}' for digest in digests)
    found = parse_api_keys(f'{{"keys":[{entries}]}}').find("wrong" if place is None else str(place))
    assert (found.id if found else None) == (None if place is None else digests[place][:4])
    assert compared == digests
