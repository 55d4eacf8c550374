"""Questions are answered while rotations wait, and too many of those are refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.control.client import Conversation, NotRunning
from appliance.control.messages import AskRotation, AskStatus, Command, Reply, SetMode
from appliance.control.server import ROTATIONS, ControlServer
from appliance.instance import Instance, Running
from engine.config import PortArgs
from engine.errors import SemiPDError


class Handler:
    """Rotations last until `finish` is set."""

    def __init__(self) -> None:
        self.finish = threading.Event()

    def __call__(self, command: Command) -> Reply:
        match command:
            case AskRotation():
                self.finish.wait()
                return Reply(True, "rotated")
            case SetMode(mode):
                raise SemiPDError(f"no {mode}") if mode == "known" else KeyError(mode)
            case _:
                return Reply(True, "here")


@pytest.fixture
def handler(runtime_dir: Path) -> Iterator[Handler]:
    handler = Handler()
    server = ControlServer(PortArgs(runtime_dir).controller_address, handler)
    server.start()
    yield handler
    handler.finish.set()
    server.stop()


@pytest.fixture
def instance(runtime_dir: Path, tmp_path: Path) -> Instance:
    instance = Instance(tmp_path)
    instance.announce(Running(1, str(runtime_dir), ""))
    return instance


def test_a_status_is_answered_while_as_many_rotations_wait_as_may(handler: Handler, instance: Instance) -> None:
    with Conversation(instance) as rotating, Conversation(instance) as asking:
        for _ in range(ROTATIONS):
            rotating.send(AskRotation(50, 50))
        assert asking.ask(AskStatus()).sentence == "here"
        handler.finish.set()
        assert [rotating.receive(5.0).sentence for _ in range(ROTATIONS)] == ["rotated"] * ROTATIONS


def test_one_rotation_more_is_refused_and_the_next_is_not(handler: Handler, instance: Instance) -> None:
    with Conversation(instance) as rotating:
        for _ in range(ROTATIONS + 1):
            rotating.send(AskRotation(50, 50))
        refused = rotating.receive(5.0)
        assert not refused.done
        assert "ask again" in refused.sentence
        handler.finish.set()
        assert all(rotating.receive(5.0).done for _ in range(ROTATIONS))
        assert rotating.ask(AskRotation(50, 50)).done


@pytest.mark.parametrize(("mode", "sentence"), [("known", "no known"), ("other", "The controller failed: KeyError")])
def test_what_goes_wrong_becomes_a_sentence(handler: Handler, instance: Instance, mode: str, sentence: str) -> None:
    with Conversation(instance) as asking:
        reply = asking.ask(SetMode(mode))
    assert not reply.done
    assert reply.sentence.startswith(sentence)


def test_where_nothing_runs_nothing_is_asked(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="semi-pd serve"):
        Conversation(Instance(tmp_path))
