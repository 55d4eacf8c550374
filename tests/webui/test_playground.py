"""The playground asks the endpoint on the page's behalf."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engine.config import ServerArgs
from tests.webui.stand import ORIGIN, Browser, Stand
from webui.playground import Playground
from webui.views.playground import chat_body, endpoint_for


class Endpoint(BaseHTTPRequestHandler):
    """Answers as ours does: a stream, or an error with a sentence."""

    asked: dict[str, Any] = {}

    def do_POST(self) -> None:
        Endpoint.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer sk-right":
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "This API key is not known here."}}')
            return
        self.send_response(200)
        self.end_headers()
        for piece in ("Hello", "<b>", " you"):
            self.chunk({"choices": [{"delta": {"content": piece}}]})
        self.chunk({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self.chunk({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
        self.wfile.write(b"data: [DONE]\n\n")

    def chunk(self, said: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(said)}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests have their own words."""


@pytest.fixture
def settings(unused_port: int) -> Iterator[ServerArgs]:
    server = ThreadingHTTPServer(("127.0.0.1", unused_port), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield ServerArgs(device="cpu", port=unused_port)
    server.shutdown()
    thread.join()
    server.server_close()


def events(settings: ServerArgs, key: str = "sk-right") -> list[dict[str, Any]]:
    asked = {"messages": [{"role": "user", "content": "Hello?"}]}
    return [json.loads(event[len("data: ") :]) for event in Playground(settings, key).chat(asked)]


def test_an_answer_comes_in_pieces_and_then_its_figures(settings: ServerArgs) -> None:
    *pieces, last = events(settings)
    assert [piece["text"] for piece in pieces] == ["Hello", "<b>", " you"]
    figures = last["figures"]
    assert (figures["tokens"], figures["prompt_tokens"], figures["finish_reason"]) == (3, 9, "stop")
    assert figures["ttft_ms"] > 0 and figures["tpot_ms"] >= 0
    assert Endpoint.asked["stream"] is True and Endpoint.asked["model"] == settings.model_name


def test_a_refusal_is_one_sentence(settings: ServerArgs) -> None:
    assert events(settings, key="sk-wrong") == [{"problem": "This API key is not known here."}]


def test_an_endpoint_that_is_away_is_one_sentence(unused_port: int) -> None:
    (said,) = events(ServerArgs(device="cpu", port=unused_port))
    assert "does not answer" in said["problem"]


def test_only_known_parameters_are_passed_on() -> None:
    given = {"messages": [{"role": "user", "content": "x", "name": "y"}], "temperature": 0.5, "seed": "", "n": 9}
    assert chat_body(given) == {"messages": [{"role": "user", "content": "x"}], "temperature": 0.5}


@pytest.mark.parametrize("body", [[], {}, {"messages": []}, {"messages": "x"}, {"messages": [3]}, {"messages": [{}]}])
def test_what_is_no_chat_is_refused(stand: Stand, owner: Browser, body: Any) -> None:
    headers = {"Origin": ORIGIN, "X-CSRFToken": owner.csrf_token, "Accept": "application/json"}
    answer = owner.client.post("/playground/chat", base_url=ORIGIN, json=body, headers=headers)
    assert answer.status_code == 400


def ask(owner: Browser) -> int:
    headers = {"Origin": ORIGIN, "X-CSRFToken": owner.csrf_token, "Accept": "application/json"}
    body = {"messages": [{"role": "user", "content": "Hello?"}]}
    return owner.client.post("/playground/chat", base_url=ORIGIN, json=body, headers=headers).status_code


def test_the_playground_has_a_key_of_its_own_and_makes_another_when_that_is_revoked(
    stand: Stand, owner: Browser
) -> None:
    assert [ask(owner), ask(owner)] == [200, 200]
    assert stand.audit[0] == ("ada", "key.add", True) and stand.audit[1][1] == "claim"
    key = stand.instance.console_dir / "playground-key"
    first = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600 and first.strip() not in owner.get("/keys/").text
    owner.post("/keys/playground/revoke")
    assert ask(owner) == 200
    assert key.read_text() != first and "playground-2" in owner.get("/keys/").text


def test_without_an_appliance_the_playground_says_that_it_has_no_key(stand: Stand, owner: Browser) -> None:
    (stand.instance.state_dir / "running.json").unlink()
    assert ask(owner) == 503


def test_a_key_that_cannot_be_kept_is_not_left_behind(stand: Stand, owner: Browser) -> None:
    (stand.instance.console_dir / "playground-key.new").mkdir()
    assert ask(owner) == 503
    assert [action for _, action, _ in stand.audit[:2]] == ["key.revoke", "key.add"]
    (stand.instance.console_dir / "playground-key.new").rmdir()
    assert ask(owner) == 200


@pytest.mark.parametrize(
    ("host", "console", "endpoint"),
    [
        ("127.0.0.1", "box:8080", "http://127.0.0.1:8000/v1"),
        ("::1", "box:8080", "http://[::1]:8000/v1"),
        ("0.0.0.0", "box.example.org:8080", "http://box.example.org:8000/v1"),
        ("::", "[2001:db8::7]:8080", "http://[2001:db8::7]:8000/v1"),
        ("0.0.0.0", "box.example.org", "http://box.example.org:8000/v1"),
    ],
)
def test_the_code_to_copy_names_an_address_that_one_can_ask(host: str, console: str, endpoint: str) -> None:
    settings = ServerArgs(device="cpu", host=host, insecure_bind=True)
    assert endpoint_for(settings, console) == endpoint
