"""The manifests at a real API server of the lowest Kubernetes: validation, admission, RBAC, tokens, Leases."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml
from lightkube import AsyncClient, KubeConfig

from broker.orders.ownership.cluster_lease import ClusterLease, Connect
from tests.deployment.cluster import Cluster, custom_definitions, running_cluster
from tests.deployment.rendering import OVERLAYS, ROOT, Manifest, only, pod_templates, rendered
from tests.deployment.test_deploy import IMAGES

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
LEASE = "broker-101-004-1234567-001"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that knows the custom resources and has the production overlay."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.define(*custom_definitions())
        made.apply(*rendered("production"))
        yield made


def dry_run(cluster: Cluster, *manifests: Manifest) -> str:
    """Objections of the server; none where it would take them."""
    options = ["--server-side", "--validate=strict", "--dry-run=server", "--force-conflicts", "-f", "-"]
    done = cluster.try_kubectl("apply", *options, text=yaml.safe_dump_all(manifests))
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_takes_every_overlay(cluster: Cluster, overlay: str) -> None:
    assert dry_run(cluster, *rendered(overlay)) == ""


def test_the_server_has_everything_as_it_was_applied(cluster: Cluster) -> None:
    done = cluster.try_kubectl("diff", "--server-side", "-f", "-", text=yaml.safe_dump_all(rendered("production")))
    assert (done.returncode, done.stdout) == (0, "")


def pods() -> dict[str, Manifest]:
    """A pod of every template of the overlay, as a controller would make it."""
    found = {}
    for where, template in pod_templates(rendered("production")):
        name = where.lower().replace("/", "-")
        metadata = {**template.get("metadata", {}), "name": name, "namespace": "broker"}
        found[where] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return found


@pytest.mark.parametrize("where", pods())
def test_admission_lets_every_pod_into_the_namespace(cluster: Cluster, where: str) -> None:
    assert dry_run(cluster, pods()[where]) == ""


def as_root(spec: Manifest) -> None:
    spec["securityContext"]["runAsUser"] = 0


def host_path(spec: Manifest) -> None:
    spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


def escalation(spec: Manifest) -> None:
    spec["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


def capability(spec: Manifest) -> None:
    spec["containers"][0]["securityContext"]["capabilities"] = {}


def no_seccomp(spec: Manifest) -> None:
    del spec["securityContext"]["seccompProfile"]


@pytest.mark.parametrize("loosen", [as_root, host_path, escalation, capability, no_seccomp])
def test_admission_keeps_a_loosened_pod_out(cluster: Cluster, loosen: Callable[[Manifest], None]) -> None:
    pod = copy.deepcopy(pods()["Deployment/broker"])
    loosen(pod["spec"])
    assert 'violates PodSecurity "restricted:v1.33"' in dry_run(cluster, pod)


def misspelt(rollout: Manifest) -> None:
    rollout["spec"]["strategy"]["blueGreen"]["previewSvc"] = "broker-preview"


def text_for_a_number(rollout: Manifest) -> None:
    rollout["spec"]["strategy"]["blueGreen"]["scaleDownDelaySeconds"] = "600s"


@pytest.mark.parametrize(("mutate", "words"), [(misspelt, "previewSvc"), (text_for_a_number, "scaleDownDelaySeconds")])
def test_the_server_refuses_a_mutated_rollout(cluster: Cluster, mutate: Callable[[Manifest], None], words: str) -> None:
    rollout = copy.deepcopy(only(rendered("production"), "Rollout", "broker"))
    mutate(rollout)
    assert words in dry_run(cluster, rollout)


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "answer"),
    [
        ("get", f"leases.coordination.k8s.io/{LEASE}", "broker", "yes"),
        ("create", "leases.coordination.k8s.io", "broker", "yes"),
        ("update", f"leases.coordination.k8s.io/{LEASE}", "broker", "yes"),
        ("get", "leases.coordination.k8s.io/of-another", "broker", "no"),
        ("update", "leases.coordination.k8s.io/of-another", "broker", "no"),
        ("list", "leases.coordination.k8s.io", "broker", "no"),
        ("delete", f"leases.coordination.k8s.io/{LEASE}", "broker", "no"),
        ("get", "leases.coordination.k8s.io", "kube-system", "no"),
        ("get", "secrets", "broker", "no"),
        ("list", "pods", "broker", "no"),
        ("create", "pods", "broker", "no"),
    ],
)
def test_the_pods_account_may_use_leases_and_nothing_else(
    cluster: Cluster, verb: str, resource: str, namespace: str, answer: str
) -> None:
    token = cluster.token("broker")
    assert cluster.try_kubectl("auth", "can-i", verb, resource, "-n", namespace, token=token).stdout.strip() == answer


def reviewed(cluster: Cluster, token: str, audience: str) -> bool:
    """Answer to a TokenReview, as Vault asks for it."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    answer = cluster.kubectl("create", "-f", "-", "-o", "json", text=json.dumps(review))
    return bool(json.loads(answer)["status"].get("authenticated"))


def test_a_token_is_good_for_its_audience_only(cluster: Cluster) -> None:
    token = cluster.token("broker", audience="vault")
    assert reviewed(cluster, token, "vault")
    assert not reviewed(cluster, token, "https://kubernetes.default.svc")


@pytest.fixture
async def in_cluster(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Connect]]:
    """The API as a pod reaches it: token, authority and namespace from files, the address from the environment."""
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    for name, text in (("token", cluster.token("broker")), ("ca.crt", cluster.authority), ("namespace", "broker")):
        (tmp_path / name).write_text(text)
    # The role names one Lease: each test begins without it.
    cluster.kubectl("delete", "lease", LEASE, "-n", "broker", "--ignore-not-found")
    made: list[AsyncClient] = []

    def connect() -> AsyncClient:
        made.append(AsyncClient(KubeConfig.from_service_account(str(tmp_path))))
        return made[-1]

    yield lambda: connect
    for client in made:
        await client.aclose()


def lease(api: Connect, me: str, lease_s: float = 1.0) -> ClusterLease:
    return ClusterLease(api, LEASE, lease_s=lease_s, me=me, address=f"{me}:8080")


async def test_an_account_passes_from_pod_to_pod_through_the_lease(in_cluster: Callable[[], Connect]) -> None:
    blue, green = lease(in_cluster(), "blue", 30.0), lease(in_cluster(), "green", 30.0)
    assert await blue.acquire() == 0.0
    assert await green.acquire() > 0
    assert (blue.epoch, green.epoch, green.address()) == (1, 0, "blue:8080")
    assert await blue.renew()
    await blue.release()
    assert await green.acquire() == 0.0
    assert (green.epoch, green.holds(), blue.holds()) == (2, True, False)
    await green.release()


async def test_a_renewal_keeps_the_time_of_the_taking(cluster: Cluster, in_cluster: Callable[[], Connect]) -> None:
    def times() -> tuple[str, str]:
        spec = json.loads(cluster.kubectl("get", "lease", LEASE, "-n", "broker", "-o", "json"))["spec"]
        return spec["acquireTime"], spec["renewTime"]

    blue = lease(in_cluster(), "blue", 30.0)
    assert await blue.acquire() == 0.0
    taken, _ = times()
    assert await blue.renew()
    acquired, renewed = times()
    assert (acquired, renewed > taken) == (taken, True)


async def test_a_pod_that_is_gone_is_waited_out_and_then_fenced(in_cluster: Callable[[], Connect]) -> None:
    blue, green = lease(in_cluster(), "blue"), lease(in_cluster(), "green")
    assert await blue.acquire() == 0.0
    while (left_s := await green.acquire()) > 0:
        await asyncio.sleep(left_s)
    assert not blue.holds(), "its own deadline ended first"
    assert not await blue.renew()
    await blue.acquire()
    assert (green.epoch, blue.holder()) == (2, "green@green:8080 (epoch 2)")


async def test_of_many_that_take_at_once_one_owns(in_cluster: Callable[[], Connect]) -> None:
    rivals = [lease(in_cluster(), f"pod-{number}", 30.0) for number in range(8)]
    await asyncio.gather(*(rival.acquire() for rival in rivals))
    assert sum(rival.holds() for rival in rivals) == 1


async def test_an_account_of_another_namespace_gets_nothing(
    cluster: Cluster, in_cluster: Callable[[], Connect], tmp_path: Path
) -> None:
    cluster.kubectl("create", "serviceaccount", "stranger", "-n", "default")
    (tmp_path / "token").write_text(cluster.token("stranger", "default"))
    stranger = lease(in_cluster(), "stranger")
    assert await stranger.acquire() > 0
    assert stranger.epoch == 0


def test_make_deploy_creates_an_empty_cluster_and_then_finds_nothing_to_change(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as empty:
        empty.define(*custom_definitions())
        first, second = (_deploy(empty) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert "namespace broker is not there yet" in first.stdout
    assert "rollout.argoproj.io/broker serverside-applied" in first.stdout
    assert (second.returncode, second.stdout.splitlines()[-1]) == (0, "nothing would change")


def _deploy(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    kubectl = ROOT / ".venv" / "bin" / "kubectl"
    environ = {"PATH": "/usr/bin:/bin", "KUBECTL": str(kubectl), "KUBECONFIG": str(cluster.kubeconfig)}
    environ |= {"HOME": str(cluster.place), "CONFIRM": "yes", **IMAGES}
    command = [str(ROOT / "tools" / "deploy.sh"), "production"]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
