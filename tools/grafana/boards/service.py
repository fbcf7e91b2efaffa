"""Four boards of any service: its requests (RED), its resources (USE), its workload, its logs."""

from __future__ import annotations

from tools.grafana.panel import Panel, Query, Rows, quantiles, rate

NAMESPACE = '{namespace=~"$namespace"}'
API = '{<select>,job="broker-api"}'
"""The broker's own page: the sidecar's has `process_*` of its own."""
POD = "{{pod}}"
OURS = '{<select>,container=~"broker|sidecar"}'


def _by_container(metric: str) -> str:
    return f"sum by (pod, container) ({metric}{OURS})"


def _container_rate(metric: str) -> str:
    return f"sum by (pod, container) (rate({metric}{OURS}[$__rate_interval]))"


EACH = "{{pod}} {{container}}"
REQUESTS = "broker_http_requests_total"
RED: Rows = {
    "Rate": [
        Panel(
            title="Requests by route",
            description="Answered by the order API, a second.",
            unit="reqps",
            queries=[rate(REQUESTS, "route")],
        ),
        Panel(
            title="Requests by class",
            description="2xx is done, 4xx is the caller's, 5xx is ours.",
            unit="reqps",
            queries=[rate(REQUESTS, "status_class")],
        ),
    ],
    "Errors": [
        Panel(
            title="Share of 5xx",
            description="Of all answers; nothing where there is no request.",
            unit="percentunit",
            queries=[
                Query(
                    expr=f'sum(rate({REQUESTS}{{<select>,status_class="5xx"}}[$__rate_interval])) '
                    f"/ (sum(rate({REQUESTS}{{<select>}}[$__rate_interval])) > 0) or vector(0)",
                    legend="5xx",
                )
            ],
        ),
        Panel(
            title="4xx by route",
            description="Callers that send what cannot be taken, a second.",
            unit="reqps",
            queries=[rate(REQUESTS, "route", more='status_class="4xx"')],
        ),
    ],
    "Duration": [
        Panel(
            title="All routes",
            description="Half of the requests are faster than p50, one in a hundred slower than p99.",
            unit="s",
            queries=quantiles("broker_http_request_duration_seconds"),
        ),
        Panel(
            title="p99 by route",
            description="Which route is slow.",
            unit="s",
            queries=quantiles("broker_http_request_duration_seconds", "route")[1:],
        ),
    ],
}
USE: Rows = {
    "CPU": [
        Panel(
            title="Utilisation",
            description="CPU time of each container, in cores.",
            unit="none",
            queries=[Query(expr=_container_rate("container_cpu_usage_seconds_total"), legend=EACH)],
        ),
        Panel(
            title="Saturation: throttled periods",
            description="Share of periods in which the limit stopped the container.",
            unit="percentunit",
            queries=[
                Query(
                    expr=f"{_container_rate('container_cpu_cfs_throttled_periods_total')} / "
                    f"({_container_rate('container_cpu_cfs_periods_total')} > 0)",
                    legend=EACH,
                )
            ],
            maximum=1,
        ),
    ],
    "Memory": [
        Panel(
            title="Utilisation of the limit",
            description="Working set of the limit; at 1 the kernel ends the container.",
            unit="percentunit",
            queries=[
                Query(
                    expr=_by_container("container_memory_working_set_bytes")
                    + " / "
                    + _by_container("container_spec_memory_limit_bytes"),
                    legend=EACH,
                )
            ],
            maximum=1,
        ),
        Panel(
            title="Working set",
            description="In bytes, as the kubelet counts it.",
            unit="bytes",
            queries=[Query(expr=_by_container("container_memory_working_set_bytes"), legend=EACH)],
        ),
    ],
    "The broker's process, as it says itself": [
        Panel(
            title="CPU time of the broker",
            description="In cores; also while its sidecar is away.",
            unit="none",
            queries=[Query(expr=f"sum by (pod) (rate(process_cpu_seconds_total{API}[$__rate_interval]))", legend=POD)],
        ),
        Panel(
            title="Resident memory of the broker",
            description="Without the page cache that the working set has.",
            unit="bytes",
            queries=[Query(expr=f"max by (pod) (process_resident_memory_bytes{API})", legend=POD)],
        ),
        Panel(
            title="Open files of the broker",
            description="Share of its limit; at 1 no connection is taken.",
            unit="percentunit",
            queries=[
                Query(expr=f"max by (pod) (process_open_fds{API}) / max by (pod) (process_max_fds{API})", legend=POD)
            ],
            maximum=1,
        ),
        Panel(
            title="Events that wait for the sidecar",
            description="In the broker's spool, by its own count.",
            unit="none",
            queries=[Query(expr=f"max by (pod) (broker_emitter_held_events{API})", legend=POD)],
        ),
    ],
    "Volumes and network": [
        Panel(
            title="Volumes in use",
            description="Share of each claim's capacity that is used.",
            unit="percentunit",
            queries=[
                Query(
                    expr=f"1 - kubelet_volume_stats_available_bytes{NAMESPACE} / "
                    f"kubelet_volume_stats_capacity_bytes{NAMESPACE}",
                    legend="{{persistentvolumeclaim}}",
                )
            ],
            maximum=1,
        ),
        Panel(
            title="Network",
            description="Bytes a second in and out of each pod.",
            unit="Bps",
            queries=[
                Query(
                    expr=f"sum by (pod) (rate(container_network_{way}_bytes_total{{<select>}}[$__rate_interval]))",
                    legend=f"{{{{pod}}}} {way}",
                )
                for way in ("receive", "transmit")
            ],
        ),
    ],
}
WORKLOAD: Rows = {
    "Pods": [
        Panel(
            title="Ready",
            description="Pods that take requests.",
            unit="none",
            queries=[Query(expr='sum(kube_pod_status_ready{<select>,condition="true"})', legend="ready")],
        ),
        Panel(
            title="Restarts in an hour",
            description="By container; native sidecars count as init containers.",
            unit="none",
            queries=[
                Query(expr=f"sum by (pod, container) (increase({metric}{OURS}[1h]))", legend=EACH)
                for metric in (
                    "kube_pod_container_status_restarts_total",
                    "kube_pod_init_container_status_restarts_total",
                )
            ],
        ),
    ],
    "Scaling": [
        Panel(
            title="Replicas",
            description="What the autoscaler runs, and the most that it may.",
            unit="none",
            queries=[
                Query(expr=f"kube_horizontalpodautoscaler_status_current_replicas{NAMESPACE}", legend="current"),
                Query(expr=f"kube_horizontalpodautoscaler_spec_max_replicas{NAMESPACE}", legend="most"),
            ],
        ),
        Panel(
            title="Probes",
            description="1 passes; by pod and probe, as the sidecar answers.",
            unit="none",
            queries=[Query(expr="min by (pod, probe) (sidecar_probe{<select>})", legend="{{pod}} {{probe}}")],
            maximum=1,
        ),
    ],
}


def _log_rate(title: str, description: str, metric: str) -> Panel:
    expr = f"sum by (service_name) (rate({metric}{NAMESPACE}[$__rate_interval]))"
    return Panel(
        title=title, description=description, unit="ops", queries=[Query(expr=expr, legend="{{service_name}}")]
    )


def _log_rise(title: str, description: str, metric: str) -> Panel:
    """Of something rare: a counter begins with its first time, which `rate` does not see."""
    began = f"({metric}{NAMESPACE} unless {metric}{NAMESPACE} offset $__rate_interval)"
    expr = f"sum by (service_name) ({began} or increase({metric}{NAMESPACE}[$__rate_interval]))"
    return Panel(
        title=title, description=description, unit="none", queries=[Query(expr=expr, legend="{{service_name}}")]
    )


LOGS: Rows = {
    "What logs say": [
        _log_rate("Errors", "Records of severity ERROR and above, a second.", "log_errors_total"),
        _log_rise("Fatal", "Processes that gave up, in an interval.", "log_fatals_total"),
        _log_rise("Secrets removed", "Records with a secret that the collector removed.", "log_redacted_total"),
        _log_rise("Audit failures", "Operations on secrets that failed, in an interval.", "log_audit_failures_total"),
    ]
}
SERVICE_BOARDS: dict[str, tuple[str, str, Rows]] = {
    "service-red": ("Service: requests", "Rate, errors, duration.", RED),
    "service-use": ("Service: resources", "Utilisation and saturation of what it runs on.", USE),
    "service-workload": ("Service: workload", "Pods, restarts, scaling, probes.", WORKLOAD),
    "service-logs": ("Service: logs", "Counters that the collector makes from records.", LOGS),
}
