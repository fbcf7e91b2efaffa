from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.health.grpc_health import GrpcHealth

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_official_client_sees_each_probe_as_a_service(tmp_path: Path) -> None:
    ours, stop = GrpcHealth(), asyncio.Event()
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(ours.servicer, server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel, asyncio.TaskGroup() as tasks:
        tasks.create_task(ours.run(stop))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readyz"))
        seen = [(await watch.read()).status]
        if seen[0] == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            seen = [(await watch.read()).status]
        ours.tell({"livez": True, "livez/broker": True, "readyz": True, "startupz": True})
        seen.append((await watch.read()).status)
        overall = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        stop.set()
        seen.append((await watch.read()).status)
        watch.cancel()
    await server.stop(0)
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]
    assert overall.status == SERVING
