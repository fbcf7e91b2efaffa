from __future__ import annotations

import pytest

from sidecar.telemetry.resource import own_resource, parse_attributes, producer_resource


def test_a_pod_is_described_by_the_downward_apis_variables() -> None:
    environ = {"POD_NAME": "broker-0", "POD_UID": "u-1", "POD_NAMESPACE": "trading", "NODE_NAME": "n1", "POD_IP": ""}
    assert own_resource(environ, version="1.2", instance_id="i1") == {
        "service.name": "broker-sidecar",
        "service.version": "1.2",
        "service.namespace": "trading",
        "service.instance.id": "u-1",
        "k8s.pod.name": "broker-0",
        "k8s.pod.uid": "u-1",
        "k8s.namespace.name": "trading",
        "k8s.node.name": "n1",
    }


def test_outside_a_pod_the_instance_is_the_checkpoints() -> None:
    assert own_resource({}, version="1.2", instance_id="i1")["service.instance.id"] == "i1"


def test_what_the_standard_variables_say_goes_before_what_is_found() -> None:
    environ = {
        "POD_UID": "u-1",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=a,service.instance.id=mine,team=fx%2Ccfd",
        "OTEL_SERVICE_NAME": "b",
    }
    found = own_resource(environ, version="1", instance_id="i1")
    assert (found["service.name"], found["service.instance.id"], found["team"]) == ("b", "mine", "fx,cfd")


def test_a_list_of_attributes_that_cannot_be_read_is_left_out_as_a_whole() -> None:
    found = own_resource({"OTEL_RESOURCE_ATTRIBUTES": "team=fx,c"}, version="1", instance_id="i1")
    assert "team" not in found
    assert found["service.name"] == "broker-sidecar"


@pytest.mark.parametrize("text", ["novalue", "=x", "a=1,,b"])
def test_a_list_that_is_no_list_names_the_entry_and_not_its_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"entry [12] is not key=value") as caught:
        parse_attributes(text)
    assert "novalue" not in str(caught.value)


def test_a_producer_keeps_its_name_and_version_and_gets_the_pods_attributes() -> None:
    own = {"service.name": "sidecar", "service.version": "9", "service.instance.id": "u-1", "k8s.pod.name": "p"}
    announced = (("service.name", "broker"), ("service.version", "2"), ("k8s.pod.name", "forged"))
    assert producer_resource(own, "broker-1", announced, {"data_stream.dataset": "broker"}) == {
        "service.name": "broker",
        "service.version": "2",
        "service.instance.id": "u-1",
        "k8s.pod.name": "p",
        "data_stream.dataset": "broker",
    }


def test_a_producer_that_announces_nothing_is_named_by_its_id() -> None:
    assert producer_resource({"service.name": "sidecar"}, "broker", ()) == {"service.name": "broker"}
