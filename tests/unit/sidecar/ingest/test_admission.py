from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.admission import StreamClaim, check_admission, peer_names
from sidecar.ingest.protocol import StreamRefusedError
from sidecar.telemetry.settings import TelemetrySettings
from tests.unit.sidecar.batches import hello

SETTINGS = TelemetrySettings(heartbeat_timeout_s=5.0, max_streams=3, max_producers=2)
NOW_S = 100.0


def claim(session: str = "s1", age_s: float = 1.0, *, producer: str = "broker", recovery: bool = False) -> StreamClaim:
    return StreamClaim(producer, session, recovery, NOW_S - age_s)


def refusal(*claims: StreamClaim, session: str, producer: str = "broker", recovery: bool = False) -> tuple[str, str]:
    with pytest.raises(StreamRefusedError) as refused:
        check_admission(hello(producer, session, recovery=recovery), None, claims, SETTINGS, NOW_S)
    return refused.value.status.name, refused.value.rule


def test_a_second_session_is_refused_while_the_first_is_heard() -> None:
    assert refusal(claim(age_s=4.9), session="s2") == ("ALREADY_EXISTS", "session_alive")


def test_a_session_that_fell_silent_loses_its_place() -> None:
    silent = claim(age_s=5.0)
    assert check_admission(hello("broker", "s2"), None, [silent], SETTINGS, NOW_S) == [silent]


def test_a_session_that_said_goodbye_keeps_nobody_out() -> None:
    gone = claim()
    gone.left = True
    assert check_admission(hello("broker", "s2"), None, [gone], SETTINGS, NOW_S) == []


def test_a_producer_that_connects_again_takes_the_place_of_its_own_stream() -> None:
    older = claim()
    assert check_admission(hello("broker", "s1"), None, [older], SETTINGS, NOW_S) == [older]


def test_what_a_dead_session_left_is_delivered_beside_the_live_one() -> None:
    assert check_admission(hello("broker", "old", recovery=True), None, [claim()], SETTINGS, NOW_S) == []


def test_a_session_that_lives_cannot_be_recovered_by_another_process() -> None:
    assert refusal(claim(), session="s1", recovery=True) == ("ALREADY_EXISTS", "session_alive")
    silent = claim(age_s=60.0)
    again = hello("broker", "s1", recovery=True)
    assert check_admission(again, None, [silent], SETTINGS, NOW_S) == [silent]


def test_a_live_session_is_let_in_beside_streams_of_recovery() -> None:
    claims = [claim("old", recovery=True)]
    assert check_admission(hello("broker", "s1"), None, claims, SETTINGS, NOW_S) == []


def test_streams_of_one_producer_are_bounded() -> None:
    claims = [claim(f"old{number}", recovery=True) for number in range(SETTINGS.max_streams)]
    assert refusal(*claims, session="old9", recovery=True) == ("RESOURCE_EXHAUSTED", "too_many_streams")
    again = hello("broker", "old0", recovery=True)
    assert check_admission(again, None, claims, SETTINGS, NOW_S) == claims[:1]


def test_one_producer_too_many_is_refused() -> None:
    others = [claim(producer="a"), claim(producer="b")]
    assert refusal(*others, session="s1")[0] == "RESOURCE_EXHAUSTED"


def test_a_certificate_names_the_ids_that_its_holder_may_use() -> None:
    names = peer_names({"transport_security_type": [b"ssl"], "x509_subject_alternative_name": [b"pricer", b"10.0.0.1"]})
    assert check_admission(hello("pricer"), names, [], SETTINGS, NOW_S) == []
    with pytest.raises(StreamRefusedError, match="the certificate does not name 'broker'") as refused:
        check_admission(hello("broker"), names, [], SETTINGS, NOW_S)
    assert (refused.value.status, refused.value.rule) == (grpc.StatusCode.PERMISSION_DENIED, "certificate_name")


def test_a_certificate_without_names_may_use_no_id() -> None:
    with pytest.raises(StreamRefusedError, match="does not name"):
        check_admission(hello(), peer_names({"transport_security_type": [b"ssl"]}), [], SETTINGS, NOW_S)


def test_the_unix_socket_shows_no_certificate() -> None:
    assert peer_names({"transport_security_type": [b"insecure"]}) is None


CLAIMS = st.lists(
    st.builds(
        StreamClaim,
        st.sampled_from(["broker", "a", "b"]),
        st.sampled_from(["s1", "s2", "s3"]),
        st.booleans(),
        st.floats(NOW_S - 20, NOW_S),
        st.booleans(),
    ),
    max_size=6,
)


@given(CLAIMS, st.sampled_from(["s1", "s2", "s3", "s4"]))
def test_after_a_hello_no_other_session_of_its_id_is_alive(claims: list[StreamClaim], session: str) -> None:
    try:
        replaced = check_admission(hello("broker", session), None, claims, SETTINGS, NOW_S)
    except StreamRefusedError:
        return
    stay = [item for item in claims if not any(item is other for other in replaced)]
    assert not [item for item in stay if item.producer_id == "broker" and not item.recovery and not item.left]
    assert len([item for item in stay if item.producer_id == "broker"]) < SETTINGS.max_streams
