"""`semi-pd serve`: what the person at the terminal sees of the appliance in the foreground."""

from __future__ import annotations

from appliance.foreground import ForegroundAppliance, Interrupted
from appliance.instance import Instance, require_free_port
from engine.config import Mode, ServerArgs
from engine.device.detect import detect_device

BANNER = """
{model} is served.

  REST endpoint  {url}/v1
  API key        {key}
  Logs           {logs}

Try it:

  curl {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "What does os.path.join do?"}}]}}'

Ctrl-C drains and stops it.
"""


def serve_in_foreground(settings: ServerArgs) -> None:
    """Start, serve until Ctrl-C, stop. Raises `CannotStart` with one sentence; nothing is left running then."""
    settings = settings.for_device(detect_device(settings.device))
    instance = Instance.of_user()
    instance.claim()
    try:
        require_free_port(settings.host, settings.port)
        say(f"Starting {settings.model_name} on the {describe(settings)}.")
        _serve(ForegroundAppliance(settings, instance, say), settings, instance)
    finally:
        instance.release()


def _serve(appliance: ForegroundAppliance, settings: ServerArgs, instance: Instance) -> None:
    api_key = instance.api_key()
    try:
        appliance.start(api_key)
        say(BANNER.format(model=settings.model_name, url=appliance.url, key=api_key, logs=instance.log_dir))
        appliance.run()
        say("Draining. Ctrl-C again stops at once.")
    except Interrupted:
        say("Stopping.")
    finally:
        appliance.stop()
    say("Stopped.")


def describe(settings: ServerArgs) -> str:
    """The device and how the phases share it."""
    device = "GPU" if settings.device == "cuda" else "CPU"
    if settings.mode is Mode.COLOCATED:
        return f"{device}, one worker for both phases"
    shares = f"prefill {settings.prefill_sm_percentage} %, decode {settings.decode_sm_percentage} %"
    return f"{device}: {shares}, splitter {settings.splitter}"


def say(line: str) -> None:
    """One line on the terminal, at once."""
    print(line, flush=True)
