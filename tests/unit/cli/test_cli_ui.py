"""`duebus ui` opens the dashboard, or says why there is none."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


class Dashboard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # http.server's name
        self.send_response(200 if self.path == "/" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr("webbrowser.open", found.append)
    return found


def test_it_opens_the_dashboard_and_prints_its_address(
    url: str, opened: list[str], duebus: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert duebus("ui", url) == 0
    assert (opened, capsys.readouterr().out) == ([url], f"{url}\n")


def test_the_environment_can_name_it(
    url: str, opened: list[str], duebus: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUEBUS_UI", url)
    assert duebus("ui") == 0
    assert opened == [url]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("{url}nothing", "there is no dashboard at {url}nothing: the answer is 404"),
        ("http://127.0.0.1:1", "there is no dashboard at http://127.0.0.1:1: Connection refused"),
        ("file:///etc/passwd", "file:///etc/passwd is not a URL such as http://127.0.0.1:8080"),
    ],
)
def test_it_says_why_there_is_none(
    url: str, opened: list[str], duebus: Callable[..., int], capsys: pytest.CaptureFixture[str], asked: str, says: str
) -> None:
    assert duebus("ui", asked.format(url=url)) == 1
    assert capsys.readouterr().err == f"duebus: {says.format(url=url)}\n"
    assert opened == []
