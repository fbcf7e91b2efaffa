"""The sidecar's own process as measures: CPU, memory and files."""

from __future__ import annotations

import psutil

from sidecar.selfmetrics.measure import Measure, Reading, alone, counter, gauge


def process_measures(process: psutil.Process) -> list[Measure]:
    """CPU, memory and files of this process, where they can be by the names of the semantic conventions."""

    def cpu() -> list[Reading]:
        times = process.cpu_times()
        return [({"cpu.mode": "user"}, times.user), ({"cpu.mode": "system"}, times.system)]

    return [
        counter("process.cpu.time", "s", "CPU time of the process", cpu),
        gauge(
            "process.memory.usage",
            "By",
            "Resident memory of the process",
            lambda: alone(process.memory_info().rss),
        ),
        gauge("process.open_fds", "{descriptor}", "Open file descriptors", lambda: alone(process.num_fds())),
        gauge(
            "process.start_time",
            "s",
            "When the process began, seconds since the epoch",
            lambda: alone(process.create_time()),
        ),
    ]
