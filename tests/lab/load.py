"""Run in a machine: clients that stream one completion after the other until the file STOP is there, then a summary.

    python3 load.py KEY CLIENTS TOKENS STOP

Each line is a JSON object: `{"started": true}` once every client has had a token, and at the end the summary: how many
streams ended whole, how many requests were refused with 503 before they were accepted, every other outcome in words,
and the longest that a client waited between two tokens and that nobody was accepted, in seconds.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from pathlib import Path

KEY, CLIENTS, TOKENS, STOP = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
ASKED = {"model": "demo-model", "prompt": "import os", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
BODY = json.dumps({**ASKED, "temperature": 0})

lock = threading.Lock()
all_started = threading.Barrier(CLIENTS, action=lambda: print(json.dumps({"started": True}), flush=True))
whole = refused = 0
broken: list[str] = []
longest_pause = longest_unaccepted = 0.0
last_accepted = time.monotonic()
answers: set[str] = set()


def client() -> None:
    first = True
    while not STOP.exists():
        try:
            outcome = stream(first)
        except (OSError, http.client.HTTPException) as error:
            outcome = f"{type(error).__name__}: {error}"
        count(outcome)
        first = False
        if outcome == "refused":
            time.sleep(0.5)


def stream(first: bool) -> str:
    """One completion: "whole", "refused", or what went wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=120)
    connection.request("POST", "/v1/completions", BODY, HEADERS)
    response = connection.getresponse()
    if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        return "refused"
    accepted()
    text, finish, latest = "", None, time.monotonic()
    for raw in response:
        line = raw.decode().strip()
        if line == "data: [DONE]":
            answers.add(text)
            return "whole" if finish == "length" else f"ended with {finish}"
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                return f"error: {event['error']['message']}"
            for choice in event["choices"]:
                text, finish = text + choice["text"], choice["finish_reason"] or finish
            paused(time.monotonic() - latest)
            latest = time.monotonic()
            if first:
                all_started.wait(120)
                first = False
                latest = time.monotonic()
    return "cut off"


def accepted() -> None:
    global last_accepted, longest_unaccepted
    with lock:
        longest_unaccepted = max(longest_unaccepted, time.monotonic() - last_accepted)
        last_accepted = time.monotonic()


def paused(seconds: float) -> None:
    global longest_pause
    with lock:
        longest_pause = max(longest_pause, seconds)


def count(outcome: str) -> None:
    global whole, refused
    with lock:
        whole += outcome == "whole"
        refused += outcome == "refused"
        if outcome not in ("whole", "refused"):
            broken.append(outcome)


threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(
    json.dumps(
        {
            "whole": whole,
            "refused": refused,
            "broken": broken,
            "different_answers": len(answers),
            "longest_pause": round(longest_pause, 1),
            "longest_unaccepted": round(longest_unaccepted, 1),
        }
    )
)
