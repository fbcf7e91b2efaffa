"""Series of a cluster's own exporters about one broker pod: kube-state-metrics, the kubelet, cAdvisor, the collector.

The collector's own are shown on the real one in tests/integration/logging.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

POD = 'namespace="broker",pod="broker-1"'
PAGE = f"""\
kube_pod_labels{{{POD},label_rollouts_pod_template_hash="abc"}} 1
kube_pod_status_ready{{{POD},condition="true"}} 1
kube_pod_container_status_restarts_total{{{POD},container="broker"}} 1
kube_pod_init_container_status_restarts_total{{{POD},container="sidecar"}} 0
kube_deployment_status_observed_generation{{namespace="broker",deployment="broker"}} 3
kube_horizontalpodautoscaler_status_current_replicas{{namespace="broker",horizontalpodautoscaler="broker"}} 3
kube_horizontalpodautoscaler_spec_max_replicas{{namespace="broker",horizontalpodautoscaler="broker"}} 10
kube_cronjob_status_last_successful_time{{namespace="logging",cronjob="broker-log-doubles"}} 1.8e9
kube_job_status_failed{{namespace="logging",job_name="broker-log-doubles-29400000"}} 0
kubelet_volume_stats_available_bytes{{namespace="broker",persistentvolumeclaim="broker-state-broker-1"}} 9e9
kubelet_volume_stats_capacity_bytes{{namespace="broker",persistentvolumeclaim="broker-state-broker-1"}} 1e10
kubelet_volume_stats_inodes_free{{namespace="broker",persistentvolumeclaim="broker-state-broker-1"}} 6e5
kubelet_volume_stats_inodes{{namespace="broker",persistentvolumeclaim="broker-state-broker-1"}} 6.5e5
container_memory_working_set_bytes{{{POD},container="broker"}} 150000000
container_spec_memory_limit_bytes{{{POD},container="broker"}} 536870912
container_memory_rss{{{POD},container="broker"}} 140000000
container_cpu_usage_seconds_total{{{POD},container="broker"}} 12
container_cpu_cfs_throttled_periods_total{{{POD},container="broker"}} 1
container_cpu_cfs_throttled_seconds_total{{{POD},container="broker"}} 0.1
container_cpu_cfs_periods_total{{{POD},container="broker"}} 100
container_network_receive_bytes_total{{{POD},interface="eth0"}} 1000
container_network_transmit_bytes_total{{{POD},interface="eth0"}} 1000
container_network_receive_packets_dropped_total{{{POD},interface="eth0"}} 0
container_network_transmit_packets_dropped_total{{{POD},interface="eth0"}} 0
log_errors_total{{namespace="broker",pod="otel-collector-0",service_name="broker"}} 1
log_fatals_total{{namespace="broker",pod="otel-collector-0",service_name="broker"}} 1
log_redacted_total{{namespace="broker",pod="otel-collector-0",service_name="broker"}} 1
log_audit_failures_total{{namespace="broker",pod="otel-collector-0",service_name="sidecar"}} 1
"""


@asynccontextmanager
async def cluster_page() -> AsyncIterator[str]:
    """The address that serves the page below /metrics."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "{}:{}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()
