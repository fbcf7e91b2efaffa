"""Rules for every test."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Tests that serve gRPC also start processes: gRPC's fork handlers abort the child between fork and exec
# ("Epoll1Poller … Bad file descriptor"). Must be set before grpc is imported for the first time.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# No test asserts how long something takes: a busy machine is no defect.
# CI tries the same examples each time, so that what it says can be repeated; elsewhere they are drawn afresh.
settings.register_profile(
    "project",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize="CI" in os.environ,
)
settings.load_profile("project")
