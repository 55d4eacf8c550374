"""Run in a machine, by the release's Python: claims the console and reads its page of logs, then the live stream.

It prints the page; when the stream has begun a line `FOLLOWING`; and the first log line of the unit that comes then.
"""

from __future__ import annotations

import json
import re
import sys
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

BASE, TOKEN, UNIT = sys.argv[1:]
PASSWORD = "four words that do not belong"


def main() -> None:
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.open(f"{BASE}/first-run").read().decode())
    assert found, "the page of the first run has no token of its own"
    form = {"csrf_token": found[1], "token": TOKEN, "name": "ada", "password": PASSWORD, "again": PASSWORD}
    browser.open(Request(f"{BASE}/first-run", urlencode(form).encode(), {"Origin": BASE})).read()
    print(browser.open(f"{BASE}/logs/?unit={UNIT}").read().decode())
    with browser.open(f"{BASE}/live/stream?logs=1&unit={UNIT}") as stream:
        looks = 0
        is_log = False
        for raw in stream:
            line = raw.decode().strip()
            if line.startswith("data: ") and is_log:
                print(*(one["event"] for one in json.loads(line.removeprefix("data: "))), flush=True)
                return
            is_log = line == "event: log"
            looks += line.startswith("data: ")
            if looks == 2:  # with the first look came the first call for added lines
                print("FOLLOWING", flush=True)
                looks += 1


main()
