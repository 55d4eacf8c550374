"""Whatever happens in whatever order: every token once and right, every page back."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.allocation import SMAllocation
from engine.wire.to_scheduler import ChangeSplit
from tests.scheduler.rehearsal import CONTROLLER, Rehearsal, undisturbed


class AnyOrder(RuleBasedStateMachine):
    """Clients come and go, workers step at their own pace and die, in a pool that is always too small."""

    stage_type = Rehearsal
    expected = staticmethod(undisturbed)

    @initialize(pages=st.integers(10, 24), colocated=st.booleans(), depth=st.integers(1, 3), caching=st.booleans())
    def open(self, pages: int, colocated: bool, depth: int, caching: bool) -> None:
        self.stage = self.stage_type(
            pages=pages,
            colocated=colocated,
            prefix_caching=caching,
            prefill_depth=depth,
            prefill_token_budget=10,
        )
        self.cancelled: set[int] = set()
        self.epoch = 1
        self.changes = 0
        self.stage.scheduler.watch(CONTROLLER)

    @rule(
        beginning=st.integers(0, 2),
        prompt=st.integers(1, 20),
        max_tokens=st.integers(1, 20),
        stop=st.integers(0, 49),
        key=st.sampled_from("xy"),
        priority=st.integers(0, 1),
    )
    def submit(self, beginning: int, prompt: int, max_tokens: int, stop: int, key: str, priority: int) -> None:
        """One of three texts, cut off somewhere: most prompts have a beginning in common with another."""
        text = [beginning] * prompt
        who = {"key_id": key, "priority": priority}
        self.stage.submit(len(self.stage.requests) + 1, text, max_tokens, stop_token_ids=(stop,), min_tokens=1, **who)

    @precondition(lambda self: self.stage.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.stage.requests)))
        self.cancelled.add(request_id)
        self.stage.cancel(request_id)

    @precondition(lambda self: self.stage.workers)
    @rule(data=st.data(), steps=st.integers(1, 6))
    def work(self, data: st.DataObject, steps: int) -> None:
        peer = data.draw(st.sampled_from(sorted(self.stage.workers)))
        for _ in range(steps):
            self.stage.work(peer)

    @rule()
    def start_a_group(self) -> None:
        if len(self.stage.workers) < 5:
            self.epoch += 1
            self.stage.start_group(self.epoch)

    @rule(data=st.data())
    def activate_a_group(self, data: st.DataObject) -> None:
        """Any that is complete, the one that served before included: that is how a rotation is taken back."""
        complete = self.stage.scheduler.groups.complete_epochs()
        if complete:
            self.stage.scheduler.activate(CONTROLLER, data.draw(st.sampled_from(complete)))
            self.stage.settle()

    @rule(epoch=st.integers(1, 3), prefill=st.sampled_from([20, 50, 80]), decode=st.sampled_from([20, 50, 80]))
    def change_a_split(self, epoch: int, prefill: int, decode: int) -> None:
        """In place, of a group that may not be there."""
        self.changes += 1
        order = ChangeSplit(epoch, self.changes, SMAllocation(prefill, decode))
        self.stage.scheduler.change_split(CONTROLLER, order)
        self.stage.settle()

    @precondition(lambda self: self.stage.workers)
    @rule(data=st.data())
    def lose_a_worker(self, data: st.DataObject) -> None:
        self.stage.lose(data.draw(st.sampled_from(sorted(self.stage.workers))))

    @rule()
    def lose_the_scheduler(self) -> None:
        """The next one has a group at once; pages that it adopts must hold what they say: the model reads them."""
        self.stage.lose_scheduler(self.cancelled)
        self.epoch += 1
        self.stage.start_group(self.epoch)
        self.stage.scheduler.activate(CONTROLLER, self.epoch)
        self.stage.settle()

    @precondition(lambda self: self.stage.idle_epochs)
    @rule()
    def retire_what_is_idle(self) -> None:
        self.stage.retire(self.stage.idle_epochs.pop())

    @invariant()
    def pages_are_accounted_for(self) -> None:
        if hasattr(self, "stage"):
            self.stage.check_pages()

    def teardown(self) -> None:
        if not hasattr(self, "stage"):
            return
        self.stage.start_group(self.epoch + 1)
        self.stage.scheduler.activate(CONTROLLER, self.epoch + 1)
        self.stage.settle()
        self.stage.finish()
        assert not self.stage.scheduler.live
        assert self.stage.allocator.free_count == self.stage.allocator.total_pages
        for request_id, output in self.stage.outputs.items():
            expected = self.expected(self.stage.requests[request_id])
            if request_id in self.cancelled:
                assert output == expected[: len(output)]
            else:
                assert output == expected


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
