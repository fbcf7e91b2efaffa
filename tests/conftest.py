"""What holds for every test."""

from __future__ import annotations

import os

# Tests that serve gRPC also start processes: gRPC's fork handlers abort the child between fork and exec
# ("Epoll1Poller … Bad file descriptor"). Must be set before grpc is imported for the first time.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
