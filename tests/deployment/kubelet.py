"""The kubelet's part that matters to a pod, played on containers: order, probes, restarts, back-off, termination.

Everything is read from the rendered pod template. `scale` shortens what is only waiting: periods of probes, the
back-off between restarts and preStop's sleep; thresholds, timeouts and the grace period stay.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.deployment.containers import built, call, no_healthcheck
from tests.deployment.rendering import Manifest

BACK_OFF_S, BACK_OFF_CAP_S = 10.0, 300.0
"""The kubelet's delays between restarts: doubling from the first to the cap (CrashLoopBackOff)."""
PAUSE = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); signal.pause()"
KILLED = 137


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """An HTTP probe with the kubelet's defaults."""

    path: str
    port: int
    period_s: float
    timeout_s: float
    failures: int

    @classmethod
    def of(cls, spec: Manifest) -> Probe:
        get = spec["httpGet"]
        return cls(
            path=get["path"],
            port=get["port"],
            period_s=spec.get("periodSeconds", 10),
            timeout_s=spec.get("timeoutSeconds", 1),
            failures=spec.get("failureThreshold", 3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Surroundings of the pod: contents of volumes by name, extra environment by container, hosts by name."""

    files: Mapping[str, Mapping[str, str]]
    environ: Mapping[str, Mapping[str, str]]
    hosts: tuple[str, ...]
    place: Path
    memory: Path


@dataclass(slots=True)
class Pod:
    """A pod that runs. `events` are (container, what) in the order in which they came."""

    template: Manifest
    world: World
    scale: float = 1.0
    name: str = field(default_factory=lambda: f"pod-{secrets.token_hex(4)}")
    events: list[tuple[str, str]] = field(default_factory=list)
    ready: dict[str, bool] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    """The container that runs now, by its name in the manifest."""
    codes: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    address: str = ""
    gateway: str = ""
    terminating: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None

    @property
    def spec(self) -> Manifest:
        """The pod's specification."""
        return dict(self.template["spec"])

    @property
    def is_ready(self) -> bool:
        """True if every container with a readiness probe passes it."""
        probed = [item["name"] for item in self.spec["containers"] if "readinessProbe" in item]
        return all(self.ready.get(name, False) for name in probed)

    def note(self, container: str, what: str) -> None:
        """Writes an event down."""
        self.events.append((container, what))
        print(f"{time.monotonic():.2f} {self.name} {container}: {what}")

    async def prepare(self) -> None:
        """A network namespace of the pod's own, held by a container that only waits."""
        await call("network", "create", self.name)
        hosts = [part for name in self.world.hosts for part in ("--add-host", f"{name}:host-gateway")]
        subnet = await call("network", "inspect", self.name, "--format", "{{(index .Subnets 0).Gateway}}")
        self.gateway = subnet
        hosts = [part.replace("host-gateway", self.gateway) for part in hosts]
        python = ["--entrypoint", "/opt/venv/bin/python"]
        await call(
            "run", "-d", "--name", self.name, "--hostname", self.name, "--network", self.name, *hosts,
            *no_healthcheck(), *python, built("sidecar"), "-c", PAUSE,
        )  # fmt: skip
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self.address = await call("inspect", self.name, "--format", form)
        self._session = aiohttp.ClientSession()
        for volume in self.spec["volumes"]:
            self._make_volume(volume)

    async def start(self, deadline_s: float = 120.0) -> None:
        """Native sidecars in their order, each until it has started; then the containers.

        Raises:
            TimeoutError: a native sidecar did not start in time.
        """
        async with asyncio.timeout(deadline_s):
            await self._start()

    async def _start(self) -> None:
        for container in self.spec.get("initContainers", ()):
            started = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._supervise(container, started)))
            await started.wait()
        for container in self.spec["containers"]:
            self._tasks.append(asyncio.create_task(self._supervise(container, asyncio.Event())))

    async def until(self, condition: Any, deadline_s: float = 120.0) -> None:
        """Waits until `condition()`, while nothing of ours has failed."""
        async with asyncio.timeout(deadline_s):
            while not condition():
                for task in self._tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.05)

    async def terminate(self) -> float:
        """Deletes the pod as the kubelet does; the seconds from the beginning to the last exit.

        preStop hooks first, then SIGTERM to the containers, then to native sidecars in reverse order, all inside
        one grace period, at whose end what is left gets SIGKILL.
        """
        began = time.monotonic()
        self.terminating = True
        grace_s = self.spec["terminationGracePeriodSeconds"]
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(self._end(item) for item in self.spec["containers"]))
                for container in reversed(self.spec.get("initContainers", ())):
                    await self._end(container)
        except TimeoutError:
            self.note("pod", "grace ended")
            for name in self.running.values():
                await call("kill", "--signal", "KILL", name, check=False)
        await asyncio.wait(self._tasks)
        return time.monotonic() - began

    async def close(self) -> None:
        """Removes everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        await call("rm", "-f", "-t", "0", *self.running.values(), self.name, check=False)
        await call("network", "rm", "-f", self.name, check=False)

    async def signal(self, container: str, number: str) -> None:
        """Sends a signal to the process of a container."""
        await call("kill", "--signal", number, self.running[container])

    async def logs(self, container: str) -> str:
        """Output of the container that runs, or ran last."""
        return await call("logs", self.running[container], check=False)

    async def _end(self, container: Manifest) -> None:
        name = container["name"]
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep")
        if sleep is not None:
            self.note(name, "preStop")
            await asyncio.sleep(sleep["seconds"] * self.scale)
        self.note(name, "SIGTERM")
        await call("kill", "--signal", "TERM", self.running[name], check=False)
        while name not in self.codes:
            await asyncio.sleep(0.02)

    async def _supervise(self, container: Manifest, started: asyncio.Event) -> None:
        """Runs a container again whenever it ends: both kinds have restart policy Always."""
        name, back_off_s = container["name"], BACK_OFF_S
        while True:
            code = await self._run_once(container, started)
            self.ready[name] = False
            self.note(name, f"exited {code}")
            if self.terminating:
                self.codes[name] = code
                return
            await asyncio.sleep(back_off_s * self.scale)
            back_off_s = min(back_off_s * 2, BACK_OFF_CAP_S)
            self.restarts[name] = self.restarts.get(name, 0) + 1

    async def _run_once(self, container: Manifest, started: asyncio.Event) -> int:
        name = container["name"]
        if (former := self.running.get(name)) is not None:
            await call("rm", "-f", "-t", "0", former, check=False)
        self.running[name] = f"{self.name}-{name}-{self.restarts.get(name, 0)}"
        await call("run", "-d", "--name", self.running[name], *self._options(container))
        self.note(name, "running")
        probes = asyncio.create_task(self._probe(container, started))
        try:
            return int(await call("wait", self.running[name]))
        finally:
            probes.cancel()
            with suppress(asyncio.CancelledError):
                await probes

    async def _probe(self, container: Manifest, started: asyncio.Event) -> None:
        name = container["name"]
        if "startupProbe" in container:
            await self._until_failed(container, "startupProbe", until_passed=True)
            self.note(name, "started")
        started.set()
        async with asyncio.TaskGroup() as tasks:
            if "livenessProbe" in container:
                tasks.create_task(self._until_failed(container, "livenessProbe"))
            if "readinessProbe" in container:
                tasks.create_task(self._watch_readiness(name, Probe.of(container["readinessProbe"])))

    async def _until_failed(self, container: Manifest, kind: str, *, until_passed: bool = False) -> None:
        """Liveness and startup: so many failures in a row end the container. A pod that ends is left alone."""
        probe, name, failed = Probe.of(container[kind]), container["name"], 0
        while failed < probe.failures:
            passed = self.terminating or await self._passes(probe)
            if passed and until_passed:
                return
            failed = 0 if passed else failed + 1
            await asyncio.sleep(probe.period_s * self.scale)
        self.note(name, f"{kind} failed")
        await call("kill", "--signal", "TERM", self.running[name], check=False)
        await asyncio.sleep(self.spec["terminationGracePeriodSeconds"] * self.scale)
        await call("kill", "--signal", "KILL", self.running[name], check=False)

    async def _watch_readiness(self, name: str, probe: Probe) -> None:
        failed = 0
        while True:
            failed = 0 if await self._passes(probe) else failed + 1
            is_ready = failed == 0 or (self.ready.get(name, False) and failed < probe.failures)
            if is_ready != self.ready.get(name, False):
                self.note(name, "ready" if is_ready else "not ready")
            self.ready[name] = is_ready
            await asyncio.sleep(probe.period_s * self.scale)

    async def _passes(self, probe: Probe) -> bool:
        assert self._session is not None
        url = f"http://{self.address}:{probe.port}{probe.path}"
        try:
            timeout = aiohttp.ClientTimeout(total=probe.timeout_s)
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as answer:
                return 200 <= answer.status < 400
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _options(self, container: Manifest) -> list[str]:
        """The tool's options for what the manifest says of a container."""
        pod, own = self.spec["securityContext"], container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, "a security context that this translation does not know"
        # Containers of a pod share its host name, restarts included: it is how a broker knows its own Lease again.
        options = ["--network", f"container:{self.name}", "--uts", f"container:{self.name}", *no_healthcheck()]
        options += ["--user", f"{pod['runAsUser']}:{pod['runAsGroup']}", "--group-add", str(pod["fsGroup"])]
        options += ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL"]
        options += ["--security-opt", "no-new-privileges"]
        limits = container["resources"]["limits"]
        options += ["--memory", limits["memory"].replace("Mi", "m"), "--cpus", str(_cores(limits["cpu"]))]
        for mount in container["volumeMounts"]:
            mode = "ro" if mount.get("readOnly") else "rw"
            options += ["-v", f"{self._volume(mount['name'])}:{mount['mountPath']}:{mode}"]
        for name, value in self._environ(container).items():
            options += ["-e", f"{name}={value}"]
        return [*options, built(container["name"]), *container.get("args", ())]

    def _environ(self, container: Manifest) -> dict[str, str]:
        fields = {"metadata.name": self.name, "metadata.uid": self.name, "metadata.namespace": "broker"}
        fields |= {"status.podIP": self.address, "spec.nodeName": "node"}
        found: dict[str, str] = {}
        for item in container.get("env", ()):
            value = item.get("value") or fields[item["valueFrom"]["fieldRef"]["fieldPath"]]
            found[item["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
        return {**found, **self.world.environ.get(container["name"], {})}

    def _volume(self, name: str) -> Path:
        (volume,) = [item for item in self.spec["volumes"] if item["name"] == name]
        in_memory = volume.get("emptyDir", {}).get("medium") == "Memory"
        return (self.world.memory if in_memory else self.world.place) / name

    def _make_volume(self, volume: Manifest) -> None:
        """As the kubelet leaves it: root's, of the pod's group, and an emptyDir open to everybody (mode 2777)."""
        path, group = self._volume(volume["name"]), self.spec["securityContext"]["fsGroup"]
        path.mkdir(parents=True, exist_ok=True)
        for name, text in self.world.files.get(volume["name"], {}).items():
            (path / name).write_text(text)
            os.chown(path / name, 0, group)
            (path / name).chmod(0o440 if "projected" in volume else 0o644)
        os.chown(path, 0, group)
        path.chmod(0o2777 if "emptyDir" in volume else 0o2755)


def _cores(cpu: str) -> float:
    return int(cpu.removesuffix("m")) / 1000 if cpu.endswith("m") else float(cpu)


@asynccontextmanager
async def running_pod(template: Manifest, world: World, *, scale: float) -> AsyncIterator[Pod]:
    """A pod that is prepared, not started; removed at the end, its logs printed."""
    pod = Pod(template, world, scale)
    try:
        await pod.prepare()
        yield pod
    finally:
        for name in pod.running:
            print(f"--- {name}\n{(await pod.logs(name))[-6000:]}")
        await pod.close()
