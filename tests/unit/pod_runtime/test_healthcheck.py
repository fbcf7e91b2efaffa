from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pod_runtime.healthcheck import main


class FakeProbe(BaseHTTPRequestHandler):
    """Answers /well with 200, and everything else with 503 and a reason."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()
        self.wfile.write(b"Draining")

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), FakeProbe) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_healthy_url_is_0(url: str) -> None:
    assert main([f"{url}/well"]) == 0


def test_an_unhealthy_one_is_1_with_its_reason(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{url}/ill"]) == 1
    assert capsys.readouterr().err == f"{url}/ill answered 503: Draining\n"


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/", "file:///etc/passwd"])
def test_what_does_not_answer_is_1_and_no_file_is_opened(place: str) -> None:
    assert main([place]) == 1


@pytest.mark.parametrize("arguments", [[], ["http://a", "http://b"]])
def test_anything_but_one_url_is_64(arguments: list[str]) -> None:
    assert main(arguments) == 64
