from __future__ import annotations

import copy
import tomllib

import pytest
import yaml

from tests.deployment.rendering import OVERLAYS, ROOT, Manifest, containers, only, pod_templates, rendered

FROM_THE_CLUSTER = {"kube-root-ca.crt", "vault-ca"}


def names(manifests: tuple[Manifest, ...], kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in manifests if item["kind"] == kind}


def templates(overlay: str) -> dict[str, Manifest]:
    return dict(pod_templates(rendered(overlay)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_mount_has_its_volume_and_every_config_map_exists(overlay: str) -> None:
    config_maps = names(rendered(overlay), "ConfigMap") | FROM_THE_CLUSTER
    for template in templates(overlay).values():
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
        mounted = {mount["name"] for item in containers(template) for mount in item.get("volumeMounts", ())}
        assert mounted == set(volumes)
        used = {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume}
        assert used <= config_maps


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_selects_a_pod_that_listens_on_its_target_ports(overlay: str) -> None:
    for service in (item for item in rendered(overlay) if item["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        selected = [
            item
            for item in templates(overlay).values()
            if selector <= item.get("metadata", {}).get("labels", {}).items()
        ]
        assert selected, service["metadata"]["name"]
        ports = {port["containerPort"] for item in containers(selected[0]) for port in item.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_scaler_budget_account_and_priority_points_at_something(overlay: str) -> None:
    manifests = rendered(overlay)
    for scaler in (item for item in manifests if item["kind"] == "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert target["name"] in names(manifests, target["kind"])
    for template in templates(overlay).values():
        assert template["spec"]["serviceAccountName"] in names(manifests, "ServiceAccount")
        priority = template["spec"].get("priorityClassName")
        assert priority is None or priority in names(manifests, "PriorityClass")


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_the_rollout_names_services_templates_and_arguments_that_exist(overlay: str) -> None:
    manifests = rendered(overlay)
    spec = only(manifests, "Rollout", "broker")["spec"]
    strategy = spec["strategy"]["blueGreen"]
    assert {strategy["activeService"], strategy["previewService"]} <= names(manifests, "Service")
    assert spec["workloadRef"]["name"] in names(manifests, "Deployment")
    for block in ("prePromotionAnalysis", "postPromotionAnalysis"):
        given = {argument["name"] for argument in strategy[block]["args"]}
        for reference in strategy[block]["templates"]:
            template = only(manifests, "AnalysisTemplate", reference["templateName"])
            assert {argument["name"] for argument in template["spec"]["args"]} <= given


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_no_timer_promotes_and_scale_down_waits_for_the_analysis(overlay: str) -> None:
    manifests = rendered(overlay)
    strategy = only(manifests, "Rollout", "broker")["spec"]["strategy"]["blueGreen"]
    assert "autoPromotionSeconds" not in strategy
    analysis = only(manifests, "AnalysisTemplate", "broker-post-promotion")["spec"]["metrics"]
    longest_s = max(seconds(item["initialDelay"]) + seconds(item["interval"]) * item["count"] for item in analysis)
    assert strategy["scaleDownDelaySeconds"] > longest_s


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_stand_on_the_container_that_a_restart_helps(overlay: str) -> None:
    template = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]
    sidecar, broker = containers(template)
    assert sidecar["restartPolicy"] == "Always"
    paths = {
        (item["name"], probe): item[probe]["httpGet"]["path"]
        for item in (sidecar, broker)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in item
    }
    assert paths == {
        ("sidecar", "startupProbe"): "/startupz",
        ("sidecar", "livenessProbe"): "/livez",
        ("broker", "livenessProbe"): "/livez/broker",
        ("broker", "readinessProbe"): "/readyz",
    }
    liveness, startup = broker["livenessProbe"], sidecar["startupProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > 360
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_container_that_hangs_does_not_use_the_grace_of_the_pod(overlay: str) -> None:
    template = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]
    assert [item["livenessProbe"]["terminationGracePeriodSeconds"] for item in containers(template)] == [10, 10]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_container_that_fails_says_why_to_who_describes_the_pod(overlay: str) -> None:
    template = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]
    policies = {item["terminationMessagePolicy"] for item in containers(template)}
    assert policies == {"FallbackToLogsOnError"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_large_file_for_a_moment_evicts_no_pod(overlay: str) -> None:
    """The kubelet evicts a pod whose emptyDir on disk is beyond its size; one in memory refuses its writer."""
    volumes = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]["spec"]["volumes"]
    mediums = {item["name"]: item["emptyDir"].get("medium") for item in volumes if item["name"].endswith("-tmp")}
    assert mediums == {"sidecar-tmp": "Memory", "broker-tmp": "Memory"}


def smoke_commands(overlay: str) -> list[list[str]]:
    metrics = only(rendered(overlay), "AnalysisTemplate", "broker-pre-promotion")["spec"]["metrics"]
    jobs = [metric["provider"]["job"]["spec"] for metric in metrics if "job" in metric["provider"]]
    return [job["template"]["spec"]["containers"][0]["command"] for job in jobs]


def test_no_order_is_placed_before_a_promotion_but_on_the_practice_account() -> None:
    (production,) = smoke_commands("production")
    assert "--preview" in production
    assert ["--preview" in command for command in smoke_commands("staging")] == [True, False]


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_a_preview_is_measured_after_the_orders_that_it_tried(overlay: str) -> None:
    metrics = only(rendered(overlay), "AnalysisTemplate", "broker-pre-promotion")["spec"]["metrics"]
    (rounds,) = [part for part in smoke_commands(overlay)[0] if part.startswith("--rounds=")]
    tried_s = int(rounds.removeprefix("--rounds="))
    delays = {item["name"]: seconds(item["initialDelay"]) for item in metrics if item["name"].startswith("preview-")}
    assert set(delays) == {"preview-errors", "preview-latency-p99"}
    assert all(tried_s < delay for delay in delays.values())


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_the_ingress_goes_to_a_service_and_port_that_exist_with_tls_and_a_rate_limit(overlay: str) -> None:
    manifests = rendered(overlay)
    ingress = only(manifests, "Ingress", "broker")
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = {port["port"] for port in only(manifests, "Service", backend["name"])["spec"]["ports"]}
            assert backend["port"]["number"] in ports
    assert {host for item in ingress["spec"]["tls"] for host in item["hosts"]} == {
        rule["host"] for rule in ingress["spec"]["rules"]
    }
    assert int(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/limit-rps"]) > 0


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_prometheus_asks_every_process_by_the_name_of_its_certificate(overlay: str) -> None:
    manifests = rendered(overlay)
    (endpoint,) = only(manifests, "ServiceMonitor", "broker-api")["spec"]["endpoints"]
    config_maps = {
        item["metadata"]["name"].rpartition("-")[0]: item for item in manifests if item["kind"] == "ConfigMap"
    }
    own = tomllib.loads(config_maps["broker-config"]["data"]["broker.toml"])
    issued = tomllib.loads(config_maps["sidecar-config"]["data"]["sidecar.toml"])["secrets"]["secrets"]
    (certificate,) = [item["parameters"] for item in issued if item["name"] == "tls"]
    assert endpoint["tlsConfig"]["serverName"] == own["api"]["peer_name"] == certificate["common_name"]
    assert only(manifests, "Service", "broker-pods")["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_the_authority_that_prometheus_trusts_is_the_one_that_the_smoke_orders_trust(overlay: str) -> None:
    manifests = rendered(overlay)
    (endpoint,) = only(manifests, "ServiceMonitor", "broker-api")["spec"]["endpoints"]
    authority = endpoint["tlsConfig"]["ca"]["secret"]
    metrics = only(manifests, "AnalysisTemplate", "broker-pre-promotion")["spec"]["metrics"]
    (job, *_) = [metric["provider"]["job"]["spec"] for metric in metrics if "job" in metric["provider"]]
    (volume,) = job["template"]["spec"]["volumes"]
    assert (authority["name"], authority["key"]) == (volume["secret"]["secretName"], "ca.crt")
    assert "--ca-file=/run/smoke/ca.crt" in job["template"]["spec"]["containers"][0]["command"]


def test_development_and_the_cluster_call_the_job_alike() -> None:
    (endpoint,) = only(rendered("production"), "ServiceMonitor", "broker-api")["spec"]["endpoints"]
    jobs = [item["replacement"] for item in endpoint["relabelings"] if item["targetLabel"] == "job"]
    compose = yaml.safe_load((ROOT / "compose" / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs == ["broker-api"]
    assert [item["static_configs"][0]["targets"] for item in compose if item["job_name"] in jobs] == [["broker:8080"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_three_replicas_are_kept_of_which_one_may_be_disrupted(overlay: str) -> None:
    manifests = rendered(overlay)
    budget = only(manifests, "PodDisruptionBudget", "broker")["spec"]
    scaler = only(manifests, "HorizontalPodAutoscaler", "broker")["spec"]
    assert (scaler["minReplicas"], budget["maxUnavailable"]) == (3, 1)
    labels = only(manifests, "Deployment", "broker")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_the_pod_is_the_same_whatever_the_strategy() -> None:
    rolling, bluegreen = (
        copy.deepcopy(only(rendered(overlay), "Deployment", "broker")["spec"]["template"])
        for overlay in ("dev", "production")
    )
    colour = {"name": "BROKER__ORDERS__COLOUR_FILE", "value": "/etc/podinfo/labels"}
    bluegreen["spec"]["containers"][0]["env"].remove(colour)
    for template in (rolling, bluegreen):
        for container in containers(template):
            del container["image"]
        for spread in template["spec"]["topologySpreadConstraints"]:
            del spread["matchLabelKeys"]
    assert rolling == bluegreen
