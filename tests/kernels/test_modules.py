"""Modules are asked for and compiled side by side, by a FlashInfer that says what it compiles and compiles nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Barrier

import pytest
import torch

from engine.kernels.build import compile_ahead
from engine.kernels.cuda import CudaKernels
from engine.kernels.modules import compile_together, modules_of

MEETING_SECONDS = 20.0


class Spec:
    """As FlashInfer's `JitSpec`: what calls `build_and_load` waits until the module is there."""

    def __init__(self, name: str, meeting: Barrier | None = None):
        self.name = name
        self.is_aot = name == "installed"
        self.meeting = meeting
        self.built_with: dict[str, str | None] = {}

    def build_and_load(self) -> str:
        return f"the module {self.name}"

    def build(self, verbose: bool) -> None:
        self.built_with = {name: os.environ.get(name) for name in ("MAKEFLAGS", "MAX_JOBS")}
        if self.meeting:
            self.meeting.wait(MEETING_SECONDS)


class Broken(Spec):
    def build(self, verbose: bool) -> None:
        raise RuntimeError("Ninja build failed. Ninja output:\nnvcc fatal")


def test_a_call_goes_as_far_as_its_module_and_each_module_is_named_once() -> None:
    def use(name: str) -> Callable[[], object]:
        return lambda: Spec(name).build_and_load()

    uses = [use("page"), use("norm"), use("norm"), use("installed"), lambda: None]
    assert [module.name for module in modules_of(iter(uses), Spec)] == ["page", "norm"]
    assert Spec("page").build_and_load() == "the module page"


def test_what_another_error_ends_leaves_flashinfer_as_it_was() -> None:
    def wrong() -> None:
        raise ValueError("no such head dimension")

    with pytest.raises(ValueError, match="no such head"):
        modules_of(iter([wrong]), Spec)
    assert Spec("page").build_and_load() == "the module page"


def test_modules_are_compiled_at_the_same_time_and_share_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "2")
    meeting, said = Barrier(2), []
    modules = [Spec("prefill", meeting), Spec("decode", meeting)]
    compile_together(modules, said.append)
    assert said[0] == "2 modules of FlashInfer's, 2 at once, 2 compilers at most."
    assert {sentence.split(":")[0] for sentence in said[1:]} == {"prefill", "decode"}
    flags = {module.built_with["MAKEFLAGS"] for module in modules}
    assert len(flags) == 1 and "--jobserver-auth=fifo:" in str(flags)
    assert os.environ["MAX_JOBS"] == "2" and {module.built_with["MAX_JOBS"] for module in modules} == {None}


def test_one_that_fails_ends_no_other() -> None:
    good, said = Spec("page"), []
    with pytest.raises(RuntimeError, match="Ninja build failed"):
        compile_together([Broken("prefill"), good], said.append)
    assert good.built_with and any(sentence.startswith("prefill: failed after") for sentence in said)


def test_without_flashinfer_a_sentence_says_that_it_goes_on_one_by_one(capfd: pytest.CaptureFixture[str]) -> None:
    compile_ahead(CudaKernels.__new__(CudaKernels), torch.device("cpu"))
    said = capfd.readouterr()
    assert said.out == "" and said.err.startswith("Modules could not all be compiled side by side (")
