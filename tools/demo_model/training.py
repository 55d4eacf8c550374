"""The training run: a schedule over wall time, batches of text and chat, losses on what was held out."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .dataset import Dataset, Split
from .llama import Llama, Shape, load_weights, save_weights
from .muon import Muon

IGNORED = -100  # the target that cross_entropy leaves out


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a run goes, the data apart."""

    minutes: float = 5.0
    micro_batch_tokens: int = 32768
    micro_batches: int = 4
    text_row: int = 2048
    early_chat: int = 2  # micro batches of chat per step, before chat_from
    late_chat: int = 3
    chat_from: float = 0.5  # share of the run after which chat outweighs text
    learning_rate: float = 5e-3
    embedding_share: float = 0.6  # of the learning rate, for the embedding and the norms
    warm_up_steps: int = 100
    decay_from: float = 0.3  # share of the run after which the learning rate falls, linearly, to zero
    weight_decay: float = 0.1
    dropout: float = 0.05
    measure_seconds: float = 45.0
    seed: int = 0

    def learning_rate_factor(self, step: int, progress: float) -> float:
        """Of the peak learning rate, at this step and this share of the run."""
        warmth = min(1.0, (step + 1) / self.warm_up_steps)
        return warmth * min(1.0, max(0.0, (1 - progress) / (1 - self.decay_from)))

    def chat_batches(self, progress: float) -> int:
        return self.early_chat if progress < self.chat_from else self.late_chat


@dataclass
class Measurement:
    seconds: float
    step: int
    tokens: int
    train_loss: float
    text_loss: float  # held out, nats per token
    chat_loss: float  # held out, nats per token of the assistant


@dataclass
class Log:
    device: str
    parameters: int
    train_text_tokens: int
    train_chat_tokens: int
    bytes_per_token: float
    recipe: dict[str, object]
    shape: dict[str, object]
    measurements: list[Measurement] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


class Batches:
    """Random batches (ids, targets), each int64 [rows, row length], already on the device."""

    def __init__(self, split: Split, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.text = torch.from_numpy(split.text.astype(np.int32)).to(device)
        self.chat = torch.from_numpy(split.chat.astype(np.int32)).to(device)
        self.learnt = torch.from_numpy(split.learnt).to(device)

    def draw_text(self) -> tuple[Tensor, Tensor]:
        length = self.recipe.text_row
        rows = max(1, self.recipe.micro_batch_tokens // length)
        starts = torch.randint(len(self.text) - length, (rows, 1), device=self.device)
        window = self.text[starts + torch.arange(length + 1, device=self.device)].long()
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def draw_chat(self) -> tuple[Tensor, Tensor]:
        rows = max(1, self.recipe.micro_batch_tokens // (self.chat.shape[1] - 1))
        chosen = torch.randint(len(self.chat), (rows,), device=self.device)
        return chat_targets(self.chat[chosen], self.learnt[chosen])


def chat_targets(chat: Tensor, learnt: Tensor) -> tuple[Tensor, Tensor]:
    window = chat.long()
    targets = torch.where(learnt, window, IGNORED)
    return window[:, :-1].contiguous(), targets[:, 1:].contiguous()


class Optimizers:
    """Muon for the layers' matrices; AdamW for the embedding and, without decay, the norms."""

    def __init__(self, model: Llama, recipe: Recipe) -> None:
        self.recipe = recipe
        self.muon = Muon([p for p in model.layers.parameters() if p.ndim == 2], weight_decay=recipe.weight_decay)
        norms = [p for p in model.parameters() if p.ndim == 1]
        self.adam = torch.optim.AdamW(
            [
                {"params": [model.embed_tokens.weight], "weight_decay": recipe.weight_decay},
                {"params": norms, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
        )

    def step(self, factor: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = factor * self.recipe.embedding_share * self.recipe.learning_rate
        self.adam.step()
        self.muon.step(factor * self.recipe.learning_rate)
        self.adam.zero_grad()
        self.muon.zero_grad()


def train(
    data: Dataset, shape: Shape, recipe: Recipe, out: Path, start: Path | None = None, compiles: bool = True
) -> Log:
    """Trains for `recipe.minutes`, from the weights in the file `start` if given, and fills the folder `out`.

    It leaves model.safetensors, best.safetensors and log.json there, renewed at every measurement; `best` has the
    lowest held-out loss, text and chat added up. The clock starts after the first step: compilation is free."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    out.mkdir(parents=True, exist_ok=True)
    model = Llama(shape, recipe.dropout).to(device)
    if start:
        load_weights(model, start)
    loss_of = torch.compile(model, dynamic=False) if compiles else model
    batches, optimizers = Batches(data.train, recipe, device), Optimizers(model, recipe)
    log = _new_log(data, model, recipe, device)

    started, measured, step, tokens, lowest = time.monotonic(), 0.0, 0, 0, float("inf")
    losses: list[torch.Tensor] = []
    while True:
        progress = (time.monotonic() - started) / (60 * recipe.minutes)
        if progress >= 1:
            break
        losses = []
        for index in range(recipe.micro_batches):
            is_chat = index < recipe.chat_batches(progress)
            ids, targets = batches.draw_chat() if is_chat else batches.draw_text()
            with torch.autocast(device.type, torch.bfloat16):
                loss = loss_of(ids, targets) / recipe.micro_batches
            loss.backward()
            losses.append(loss.detach())
            tokens += ids.numel()
        optimizers.step(recipe.learning_rate_factor(step, progress))
        step += 1
        if step == 1:
            torch.stack(losses).sum().item()
            started = time.monotonic()
        if step % 20 == 0:
            train_loss = torch.stack(losses).sum().item()  # also keeps the host from running ahead of the device
            if time.monotonic() - started - measured > recipe.measure_seconds:
                measured = time.monotonic() - started
                lowest = min(lowest, _measure(model, data, log, out, lowest, measured, step, tokens, train_loss))
    _measure(
        model,
        data,
        log,
        out,
        lowest,
        time.monotonic() - started,
        step,
        tokens,
        torch.stack(losses).sum().item(),
    )
    return log


def _new_log(data: Dataset, model: Llama, recipe: Recipe, device: torch.device) -> Log:
    return Log(
        device=torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        parameters=model.parameter_count,
        train_text_tokens=len(data.train.text),
        train_chat_tokens=int((data.train.chat != 0).sum()),
        bytes_per_token=data.bytes_per_token,
        recipe=asdict(recipe),
        shape=asdict(model.shape),
    )


def _measure(
    model: Llama,
    data: Dataset,
    log: Log,
    out: Path,
    lowest: float,
    seconds: float,
    step: int,
    tokens: int,
    loss: float,
) -> float:
    """Measures, saves and reports; returns the held-out loss, text and chat added up."""
    text_loss, chat_loss = held_out_losses(model, data.held_out)
    measurement = Measurement(round(seconds, 1), step, tokens, loss, text_loss, chat_loss)
    log.measurements.append(measurement)
    log.save(out / "log.json")
    save_weights(model, out / "model.safetensors")
    if text_loss + chat_loss < lowest:
        save_weights(model, out / "best.safetensors")
    print(
        f"{seconds:6.1f} s  step {step}  {tokens / 1e6:.1f} M tokens ({tokens / seconds / 1e6:.2f} M/s)  "
        f"train {loss:.3f}  held out: text {text_loss:.3f} chat {chat_loss:.3f}",
        flush=True,
    )
    return text_loss + chat_loss


@torch.no_grad()
def held_out_losses(model: Llama, held_out: Split) -> tuple[float, float]:
    """(text, chat) in nats per token, over all of the held-out rows."""
    device = model.embed_tokens.weight.device
    length = model.shape.max_position_embeddings
    rows = max(1, (len(held_out.text) - 1) // length)
    text = torch.from_numpy(held_out.text[: rows * length + 1].astype(np.int64)).to(device)
    text_pairs = (text[:-1].view(rows, -1), text[1:].view(rows, -1))
    chat_pairs = chat_targets(
        torch.from_numpy(held_out.chat.astype(np.int64)).to(device),
        torch.from_numpy(held_out.learnt).to(device),
    )
    was_training = model.training
    model.eval()
    losses = _mean_loss(model, *text_pairs), _mean_loss(model, *chat_pairs)
    model.train(was_training)
    return losses


def _mean_loss(model: Llama, ids: Tensor, targets: Tensor) -> float:
    total, count = 0.0, 0
    for some_ids, some_targets in zip(ids.split(8), targets.split(8), strict=True):
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = model.logits(some_ids)
        total += F.cross_entropy(
            logits.float().flatten(0, 1), some_targets.flatten(), ignore_index=IGNORED, reduction="sum"
        ).item()
        count += int((some_targets != IGNORED).sum())
    return total / max(1, count)


@torch.no_grad()
def is_recalled(model: Llama, ids: list[int], learnt: list[bool]) -> bool:
    """Whether greedy decoding gives every learnt token: it does if each is the likeliest after its prefix."""
    row = torch.tensor([ids], device=model.embed_tokens.weight.device)
    is_right = model.logits(row)[0, :-1].argmax(-1) == row[0, 1:]
    return bool(is_right[torch.tensor(learnt[1:], device=row.device)].all())


@torch.no_grad()
def greedy(model: Llama, prompt: list[int], ends: set[int], limit: int = 256) -> list[int]:
    """The likeliest continuation of `prompt`, without its end token; no cache: for short answers."""
    ids = list(prompt)
    device = model.embed_tokens.weight.device
    for _ in range(min(limit, model.shape.max_position_embeddings - len(prompt))):
        best = int(model.logits(torch.tensor([ids], device=device))[0, -1].argmax())
        if best in ends:
            break
        ids.append(best)
    return ids[len(prompt) :]
