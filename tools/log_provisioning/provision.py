"""Installs what logs need, in an order that loses none: `python -m tools.log_provisioning.provision`.

A second run updates what the first one installed.

1. Policies, for templates name them. 2. Component templates, for index templates are composed of them. 3. Index
templates; until then records wait in the collector, for it asks again after a 404. 4. Backing indices made before a
change of template go on with the old one until their next rollover; `--roll-over` asks for it at their next record,
stream by stream, for the engine rolls over a name and no pattern.
5. Kibana's data views, searches and dashboards. 6. Kibana's rules.

ELASTICSEARCH_URL, KIBANA_URL (none: without Kibana), API_KEY_FILE, CA_FILE; FILES and TEMPLATES where the manifests
lie elsewhere than in the project. Exit status 69 where a server does not
answer within five minutes, 1 where it refuses something; nothing after that step is done then.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 300
STREAMS = "logs-broker.otel-*,logs-broker.audit.otel-*"
BUSY = frozenset({408, 429, 502, 503, 504})
FIRST_REFUSAL = 400
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Step:
    """One request. `what` is said; `absent` is a status that means that there is nothing to do."""

    what: str
    method: str
    path: str
    body: bytes
    content: str = "application/json"
    absent: int = 0


STREAMS_STEP = Step("streams", "GET", f"_resolve/index/{STREAMS}", b"")


class RefusedError(Exception):
    """The server refused a step; the text has its answer."""


class UnavailableError(Exception):
    """The server did not answer in time."""


@dataclass(frozen=True, slots=True)
class Server:
    """Elasticsearch or Kibana."""

    url: str
    headers: Mapping[str, str]
    context: ssl.SSLContext | None = None
    wait_s: float = WAIT_S
    pause_s: float = 2.0
    clock: Callable[[], float] = time.monotonic

    def do(self, step: Step) -> bytes:
        """Sends a step, again while the server is away or busy.

        Raises:
            RefusedError: it said no.
            UnavailableError: it said nothing.
        """
        end = self.clock() + self.wait_s
        while True:
            status, text = self._once(step)
            if step.absent and status == step.absent:
                return b""
            if status and status not in BUSY:
                break
            if self.clock() > end:
                raise UnavailableError(f"{self.url}: {status or 'no answer'} for {self.wait_s:.0f} s")
            time.sleep(self.pause_s)
        if status >= FIRST_REFUSAL:
            raise RefusedError(f"{step.what}: {status} {text[:600].decode(errors='replace')}")
        return text

    def has(self, path: str) -> bool:
        """True if there is something at a path."""
        return bool(self.do(Step(path, "GET", path, b"", absent=NOT_FOUND)))

    def _once(self, step: Step) -> tuple[int, bytes]:
        headers = {"Content-Type": step.content, **self.headers}
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            f"{self.url.rstrip('/')}/{step.path}", data=step.body or None, method=step.method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:  # noqa: S310 - see above
                return answer.status, answer.read() or b"{}"
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""


def engine_steps(files: Path, templates: Path) -> Iterator[Step]:
    """Requests to Elasticsearch, in order."""
    for path in sorted((files / "ilm").glob("*.json")):
        yield Step(f"policy {path.stem}", "PUT", f"_ilm/policy/{path.stem}", path.read_bytes())
    components = [*(files / "component-templates").glob("*.json"), *templates.glob("*@*.json")]
    for path in sorted(components):
        yield Step(f"component {path.stem}", "PUT", f"_component_template/{path.stem}", path.read_bytes())
    for path in sorted(item for item in templates.glob("*.json") if "@" not in item.name):
        yield Step(f"template {path.stem}", "PUT", f"_index_template/{path.stem}", path.read_bytes())


def roll_over_steps(found: Mapping[str, Any]) -> Iterator[Step]:
    """Requests for a new backing index of each stream; `found` is the engine's answer to `STREAMS_STEP`."""
    for stream in sorted(item["name"] for item in found["data_streams"]):
        yield Step(f"roll over {stream}", "POST", f"{stream}/_rollover?lazy", b"")


def saved_objects_step(files: Path) -> Step:
    """The import of all saved objects, over those of the same ids."""
    mark = "broker-sidecar-saved-objects"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="saved-objects.ndjson"\r\n'
    head += "Content-Type: application/ndjson\r\n\r\n"
    body = head.encode() + (files / "kibana" / "saved-objects.ndjson").read_bytes() + f"\r\n--{mark}--\r\n".encode()
    path = "api/saved_objects/_import?overwrite=true"
    return Step("saved objects", "POST", path, body, f"multipart/form-data; boundary={mark}")


def rule_step(path: Path, *, exists: bool) -> Step:
    """A rule is made once; then it is changed, and its type and owner cannot be."""
    rule = json.loads(path.read_text())
    if exists:
        rule = {key: value for key, value in rule.items() if key not in ("rule_type_id", "consumer")}
    method = "PUT" if exists else "POST"
    return Step(f"rule {path.stem}", method, f"api/alerting/rule/{path.stem}", json.dumps(rule).encode())


def provision(engine: Server, kibana: Server | None, files: Path, templates: Path, *, roll_over: bool) -> Iterator[str]:
    """Take every step in order; yield the name of each that is done.

    `files` is laid out as k8s/logging, `templates` as otel-collector/elasticsearch.

    Raises:
        RefusedError: at the first one that is refused.
        UnavailableError: a server does not answer.
    """
    for step in engine_steps(files, templates):
        engine.do(step)
        yield step.what
    if roll_over:
        for step in roll_over_steps(json.loads(engine.do(STREAMS_STEP))):
            engine.do(step)
            yield step.what
    if kibana is None:
        return
    answer = json.loads(kibana.do(saved_objects_step(files)))
    if not answer.get("success"):
        raise RefusedError(f"saved objects: {answer.get('errors')}")
    yield "saved objects"
    for path in sorted((files / "kibana" / "rules").glob("*.json")):
        step = rule_step(path, exists=kibana.has(f"api/alerting/rule/{path.stem}"))
        kibana.do(step)
        yield step.what


def engine_of(environ: Mapping[str, str]) -> Server | None:
    """Elasticsearch as the environment names it; None, with a word on standard error, where it does not."""
    key = environ.get("API_KEY_FILE")
    headers = {"Authorization": f"ApiKey {Path(key).read_text().strip()}"} if key else {}
    context = ssl.create_default_context(cafile=environ["CA_FILE"]) if environ.get("CA_FILE") else None
    if not environ.get("ELASTICSEARCH_URL"):
        sys.stderr.write("ELASTICSEARCH_URL is not set: the engine's address, as https://elasticsearch:9200\n")
        return None
    return Server(environ["ELASTICSEARCH_URL"], headers, context, float(environ.get("WAIT_S", WAIT_S)))


def ended(work: Callable[[], int]) -> int:
    """The exit status of `work`, or of what kept it from its end, with a word on standard error."""
    try:
        return work()
    except RefusedError as error:
        sys.stderr.write(f"refused: {error}\n")
        return 1
    except UnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_UNAVAILABLE


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Reads the environment and provisions."""
    engine = engine_of(environ)
    if engine is None:
        return os.EX_USAGE
    address = environ.get("KIBANA_URL")
    kibana = replace(engine, url=address, headers={**engine.headers, "kbn-xsrf": "provision"}) if address else None
    files = Path(environ.get("FILES", ROOT / "k8s" / "logging"))
    templates = Path(environ.get("TEMPLATES", ROOT / "otel-collector" / "elasticsearch"))

    def work() -> int:
        for said in provision(engine, kibana, files, templates, roll_over="--roll-over" in arguments):
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()
        return 0

    return ended(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
