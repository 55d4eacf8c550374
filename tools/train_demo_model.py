"""Makes the shipped demo model from scratch: corpus, tokenizer, train, export, sample.

Run the steps in this order; each reads what the one before it left in the work folder:

    python tools/train_demo_model.py corpus --docs /usr/share/doc/python3.11/html/_sources
    python tools/train_demo_model.py tokenizer
    python tools/train_demo_model.py train
    python tools/train_demo_model.py export
    python tools/train_demo_model.py sample "What does os.path.join do?"

The model's card names the options of the shipped model. `corpus` reads the standard library of the Python
that runs it, so run it with CPython 3.11."""

import argparse
import json
import random
import re
from itertools import pairwise
from pathlib import Path

from demo_model import card, chat, corpus, dataset, smalltalk, training
from demo_model import tokenizer as bpe
from demo_model.llama import Llama, Shape, load_weights, save_config
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
SMALL_TALK_ROUNDS = 30
RECALL_QUESTIONS = 500
SUM_QUESTIONS = 200


def make_corpus(docs: Path, work: Path) -> None:
    """corpus.json: for each split, the texts and the conversations."""
    pages, modules = list(corpus.pages(docs)), list(corpus.modules())
    rng = random.Random(0)
    splits = {}
    for name, is_held_out in (("train", False), ("held_out", True)):
        some_pages = [page for page in pages if page.is_held_out == is_held_out]
        some_modules = [module for module in modules if module.is_held_out == is_held_out]
        texts = [corpus.page_text(page) for page in some_pages] + [corpus.module_text(m) for m in some_modules]
        rng.shuffle(texts)
        known = chat.learn(some_pages, some_modules)
        asked = chat.pairs(known, rng)
        if not is_held_out:
            names = list(known.entries)
            asked += [chat.Pair(*pair) for pair in smalltalk.pairs(rng, SMALL_TALK_ROUNDS, names)]
        splits[name] = {"texts": texts, "conversations": chat.conversations(asked, rng)}
        millions = sum(map(len, texts)) / 1e6
        print(f"{name}: {len(texts)} texts, {millions:.1f} M characters, {len(asked)} questions")
    work.mkdir(parents=True, exist_ok=True)
    (work / "corpus.json").write_text(json.dumps(splits), encoding="utf-8")


def make_tokenizer(work: Path) -> None:
    """tokenizer/ and data.npz, the packed tokens."""
    splits = json.loads((work / "corpus.json").read_text(encoding="utf-8"))
    tokenizer = bpe.train(splits["train"]["texts"])
    bpe.save(tokenizer, work / "tokenizer", Shape().max_position_embeddings)
    train, held_out = ((split["texts"], split["conversations"]) for split in splits.values())
    data = dataset.build(tokenizer, train, held_out)
    data.save(work / "data.npz")
    for name, split in (("train", data.train), ("held out", data.held_out)):
        print(f"{name}: {len(split.text)} text tokens, {len(split.chat)} rows of chat")


def train(work: Path, out: Path, recipe: training.Recipe, start: Path | None, compiles: bool) -> None:
    training.train(dataset.load(work / "data.npz"), Shape(), recipe, out, start, compiles)


def export(work: Path, stages: list[Path], model_folder: Path) -> None:
    """The last stage's weights as a folder that transformers loads, its card included."""
    bpe.save(bpe.load(work / "tokenizer"), model_folder, Shape().max_position_embeddings)
    save_config(Shape(), model_folder)
    weights = model_folder / "model.safetensors"
    weights.write_bytes((stages[-1] / "model.safetensors").read_bytes())
    model, tokenizer = load_model(model_folder), bpe.load(model_folder)
    held_out = dataset.load(work / "data.npz").held_out
    text_loss, chat_loss = training.held_out_losses(model, held_out)
    facts = card.Facts(
        stages=[json.loads((stage / "log.json").read_text(encoding="utf-8")) for stage in stages],
        held_out_tokens=len(held_out.text),
        text_loss=text_loss,
        chat_loss=chat_loss,
        recalled=count_recalled(model, tokenizer, work),
        asked=RECALL_QUESTIONS,
        sums_right=count_right_sums(model, tokenizer),
        sums=SUM_QUESTIONS,
        samples=[(question, answer(model, tokenizer, question)) for question in card.QUESTIONS],
    )
    (model_folder / "README.md").write_text(card.render(facts), encoding="utf-8")


def count_recalled(model: Llama, tokenizer: Tokenizer, work: Path) -> int:
    """How many of RECALL_QUESTIONS random objects are described word for word, asked in a new wording."""
    conversations = json.loads((work / "corpus.json").read_text(encoding="utf-8"))["train"]["conversations"]
    described = {}
    for conversation in conversations:
        for (_, question), (_, said) in pairwise(conversation):
            found = re.fullmatch(r"What does ([\w.]+) do\?", question)
            if found and said.startswith(f"`{found[1]}"):
                described[found[1]] = said
    drawn = random.Random(1).sample(sorted(described), RECALL_QUESTIONS)
    wording = "Could you tell me what {} does?"
    return sum(is_answered(model, tokenizer, wording.format(name), described[name]) for name in drawn)


def count_right_sums(model: Llama, tokenizer: Tokenizer) -> int:
    rng = random.Random(1)
    pairs = [smalltalk.sum_pair(rng) for _ in range(SUM_QUESTIONS)]
    return sum(is_answered(model, tokenizer, question, said) for question, said in pairs)


def is_answered(model: Llama, tokenizer: Tokenizer, question: str, said: str) -> bool:
    conversation = [chat.Turn("user", question), chat.Turn("assistant", said)]
    return training.is_recalled(model, *dataset.encode(tokenizer, conversation))


def load_model(model_folder: Path) -> Llama:
    model = Llama(Shape()).eval()
    load_weights(model, model_folder / "model.safetensors")
    return model


def answer(model: Llama, tokenizer: Tokenizer, question: str) -> str:
    asked, _ = dataset.encode(tokenizer, [chat.Turn("user", question)])
    prompt = [*asked[:-1], bpe.TURN_START_ID, *tokenizer.encode("assistant\n").ids]
    return tokenizer.decode(training.greedy(model, prompt, {bpe.TURN_END_ID, bpe.END_OF_TEXT_ID}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".demo-data", help="folder for everything in between")
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("corpus", help="collect text and build questions and answers")
    step.add_argument("--docs", type=Path, required=True, help="the _sources folder of Python's HTML documentation")
    steps.add_parser("tokenizer", help="train the tokenizer and pack the corpus")
    step = steps.add_parser("train", help="train; wants a GPU, runs on a CPU")
    default = training.Recipe()
    step.add_argument("--minutes", type=float, default=default.minutes, help="wall time, compilation not counted")
    step.add_argument("--micro-batch-tokens", type=int, default=default.micro_batch_tokens)
    step.add_argument("--learning-rate", type=float, default=default.learning_rate)
    step.add_argument("--dropout", type=float, default=default.dropout)
    step.add_argument("--early-chat", type=int, default=default.early_chat, help="of 4 micro batches; 3 later on")
    step.add_argument("--start", type=Path, help="weights to go on from (default: from scratch)")
    step.add_argument("--no-compile", action="store_true", help="run without torch.compile")
    step.add_argument("--out", type=Path, help="folder for checkpoints and log (default: run/ in the work folder)")
    step = steps.add_parser("export", help="write the model's folder and its card")
    step.add_argument("--stages", type=Path, nargs="+", help="what each train wrote, in order (default: run/)")
    step.add_argument("--model", type=Path, default=ROOT / "engine" / "demo_model")
    step = steps.add_parser("sample", help="ask the exported model, greedily, in float32")
    step.add_argument("question", nargs="+")
    step.add_argument("--model", type=Path, default=ROOT / "engine" / "demo_model")
    return parser.parse_args()


def main() -> None:
    chosen = parse_arguments()
    match chosen.step:
        case "corpus":
            make_corpus(chosen.docs, chosen.work)
        case "tokenizer":
            make_tokenizer(chosen.work)
        case "train":
            recipe = training.Recipe(
                minutes=chosen.minutes,
                micro_batch_tokens=chosen.micro_batch_tokens,
                learning_rate=chosen.learning_rate,
                dropout=chosen.dropout,
                early_chat=chosen.early_chat,
            )
            train(chosen.work, chosen.out or chosen.work / "run", recipe, chosen.start, not chosen.no_compile)
        case "export":
            export(chosen.work, chosen.stages or [chosen.work / "run"], chosen.model)
        case "sample":
            model, tokenizer = load_model(chosen.model), bpe.load(chosen.model)
            for question in chosen.question:
                print(f"> {question}\n{answer(model, tokenizer, question)}\n")


if __name__ == "__main__":
    main()
