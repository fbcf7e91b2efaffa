"""Our Rollout in the hands of Argo Rollouts' real controller, at a real API server: who is active, and when."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.deployment.cluster import Cluster, custom_definitions, running_cluster, until
from tests.deployment.controllers import Answers, answering, definitions, running_controllers
from tests.deployment.rendering import Manifest, rendered

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
HASH = "rollouts-pod-template-hash"


@dataclass(slots=True)
class Releases:
    """The Rollout of the production overlay, whose analyses look every second and ask `answers`."""

    cluster: Cluster
    answers: Answers

    def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self.cluster.kubectl("get", kind, name, "-n", "broker", "-o", "json"))
        return found

    def all(self, kind: str, selector: str) -> list[Manifest]:
        text = self.cluster.kubectl("get", kind, "-n", "broker", "-o", "json", "-l", selector)
        found: list[Manifest] = json.loads(text)["items"]
        return found

    def release(self, image: str) -> None:
        """Changes what the Deployment's template, which the Rollout takes, runs."""
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "broker", "image": image}]}}}}
        self.cluster.kubectl("patch", "deployment", "broker", "-n", "broker", "-p", json.dumps(patch))

    def service(self, name: str) -> str:
        """The hash of the pods behind a service."""
        return str(self.get("service", name)["spec"]["selector"].get(HASH, ""))

    def status(self) -> dict[str, Any]:
        return dict(self.get("rollout", "broker").get("status", {}))

    def settled(self) -> bool:
        """True if nothing is under way and the newest template is the active one."""
        status, generation = self.status(), self.get("rollout", "broker")["metadata"]["generation"]
        return (
            status.get("phase") == "Healthy"
            and status.get("observedGeneration") == str(generation)
            and status.get("stableRS") == status.get("currentPodHash") == self.service("broker")
        )

    def colours(self, pod_hash: str) -> set[str]:
        """The colour that pods of a template are told; an empty one where the label is gone."""
        pods = self.all("pods", f"{HASH}={pod_hash}")
        return {pod["metadata"]["labels"].get("broker.role/colour", "") for pod in pods}


def quick(manifest: Manifest, prometheus: str) -> Manifest:
    """An AnalysisTemplate that asks the given Prometheus, every second."""
    made = copy.deepcopy(manifest)
    for metric in made["spec"]["metrics"]:
        metric.pop("initialDelay", None)
        if "prometheus" in metric["provider"]:
            metric["provider"]["prometheus"]["address"] = prometheus
            metric["interval"], metric["count"] = "1s", 2
    return made


def good(query: str) -> float:
    """Answer of each query of the analyses where all is well."""
    return 1.0 if "acknowledged" in query else 0.0


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    """A cluster with one release that is active."""
    answers = Answers(good)
    custom = [item for item in custom_definitions() if item["spec"]["group"] != "argoproj.io"]
    rollouts = [yaml.safe_load(path.read_text()) for path in definitions()]
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster, answering(answers) as prometheus:
        cluster.define(*custom, *rollouts)
        with running_controllers(cluster):
            manifests = [
                quick(item, prometheus) if item["kind"] == "AnalysisTemplate" else item
                for item in rendered("production")
            ]
            cluster.apply(*manifests)
            made = Releases(cluster, answers)
            until(made.settled)
            yield made


@pytest.fixture
def release(releases: Releases) -> Iterator[Releases]:
    """The same, and again after the test."""
    releases.answers.value = good
    releases.answers.queries.clear()
    before = releases.get("deployment", "broker")["spec"]["template"]["spec"]["containers"][0]["image"]
    yield releases
    releases.answers.value = good
    if not releases.settled():
        releases.release(before)
        until(releases.settled)


def test_a_good_release_becomes_active_and_the_old_pods_lose_their_colour(release: Releases) -> None:
    old = release.service("broker")
    assert release.colours(old) == {"active"}
    release.release("broker:next")
    until(lambda: release.service("broker-preview") not in {"", old})
    new = release.service("broker-preview")
    until(release.settled)
    assert release.service("broker") == new
    until(lambda: release.colours(new) == {"active"})
    until(lambda: release.colours(old) == {""})
    asked = [query for query in release.answers.queries if "rollouts_pod_template_hash" in query]
    assert len(asked) >= 8, "four metrics of the preview, twice each"
    assert all(f'rollouts_pod_template_hash="{new}"' in query for query in asked)


def test_a_bad_preview_is_given_up_and_never_had_the_active_service(release: Releases) -> None:
    old = release.service("broker")
    release.answers.value = lambda query: 0.5 if query.strip().startswith("1 - sum") else good(query)
    release.release("broker:bad-preview")
    until(lambda: release.status().get("phase") == "Degraded")
    assert release.status()["abort"] is True
    assert release.service("broker") == old
    assert release.colours(old) == {"active"}
    assert "active" not in release.colours(release.status()["currentPodHash"])


def test_a_release_that_turns_bad_after_its_promotion_gives_the_service_back(release: Releases) -> None:
    old, seen = release.service("broker"), threading.Event()

    def bad_once_the_promotion_was_seen(query: str) -> float:
        return 0.5 if "presumed_absent" in query and seen.wait(60) else good(query)

    release.answers.value = bad_once_the_promotion_was_seen
    release.release("broker:bad-later")
    until(lambda: release.service("broker") != old)
    seen.set()
    until(lambda: release.service("broker") == old)
    assert release.status()["phase"] == "Degraded"
    until(lambda: release.colours(old) == {"active"})
