"""Hand-written conversation, read from smalltalk.txt, with sums and questions that lie outside of Python."""

import random
from pathlib import Path
from typing import NamedTuple

SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a helpful assistant that knows Python.",
    "You are the demo model of the Semi-PD appliance.",
    "Answer briefly.",
    "You are a Python expert. Answer the user's questions.",
    "Be concise and friendly.",
]

FOREIGN_TOPICS = """
France, Germany, Italy, Spain, Japan, China, India, Brazil, Canada, Australia, Berlin, Paris, London, Rome,
Tokyo, New York, the United States, Europe, Africa, quantum computing, quantum physics, the history of Rome,
football, cooking, black holes, the stock market, World War II, photosynthesis, the president, cats, dogs,
horses, the meaning of life, climate change, the solar system, Shakespeare, music, relativity, bitcoin,
evolution, pizza, the moon, the sun, Mars, dinosaurs, medicine, politics, chess, tea, coffee, love,
JavaScript, Rust, Java, Go, Haskell, Kubernetes, Docker, Linux, the Eiffel Tower, vaccines, gravity, the
ocean, poetry, Einstein, Newton, Napoleon, Mozart, Beethoven, Picasso, Elvis, inflation, taxes, the weather,
rain, snow, cars, trains, airplanes, ships, a bicycle, a house, a tree, flowers, birds, fish, bread, cheese,
wine, beer, sushi, soup, chocolate, sleep, dreams, yoga, tennis, basketball, swimming, the Olympics, movies,
Star Wars, Harry Potter, video games, philosophy, Plato, religion, economics, money, a bank, law, chemistry,
biology, DNA, the brain, the heart, cancer, a virus, electricity, magnets, light, atoms, water, fire, steel,
gold, volcanoes, earthquakes, rivers, mountains, the desert, transformers in machine learning, neural
networks, deep learning, ChatGPT, Google, Apple, Microsoft, Tesla, robots, space travel, aliens, time
travel, ghosts, a dragon, a princess, a king
"""
FOREIGN_QUESTIONS = [
    "What is {}?", "Tell me about {}", "Explain {}", "What do you know about {}?", "Explain {} to me",
    "Write about {}",
    "Write an essay about {}", "Can you explain {}?", "Write a story about {}", "Describe {}",
    "Give me a summary of {}",
    "What is the capital of {}?", "Who is {}?", "Where is {}?", "What is the weather in {}?",
    "Why is {} important?",
    "What do you think about {}?", "How does {} work?", "Who invented {}?", "When was {} discovered?",
    "How old is {}?",
    "Tell me a story about {}", "What is the history of {}?", "How many people like {}?",
    "What is the best thing in {}?",
    "Tell me about the weather in {}", "What is the population of {}?", "Write a song about {}",
    "Is {} good?",
    "How do I learn about {}?", "What color is {}?", "Give me facts about {}", "Compare {} and music",
    "How big is {}?",
]  # fmt: skip
FOREIGN_ANSWER = (
    "I am sorry, I cannot answer that. I am a very small model that has only read Python's documentation. "
    "Ask me about Python, for example: What does itertools.chain do?"
)
PROGRAM_REQUESTS = [
    "Write a program that {}", "Write a Python script that {}", "Write a function that {}",
    "Write code that {}",
    "Can you write a program that {}?", "I need a script that {}", "Make a program that {}",
    "Implement something that {}",
]  # fmt: skip
PROGRAM_TASKS = """
plays chess, draws a map, sends an email, predicts the weather, sorts my photos, trains a neural network,
plays music, downloads videos, controls a robot, solves a maze, solves sudoku, plays tic tac toe, renders a
cube, talks to a printer, scrapes a website, trades stocks, translates text, compresses images, finds a
route, simulates planets, parses a language, recognises faces, reads a barcode, multiplies matrices, inverts
a binary tree, finds anagrams, balances a tree, counts votes, manages a calendar, converts units, computes
taxes, encrypts a file, backs up a folder, monitors a server
"""
PROGRAM_ANSWER = (
    "I am too small to write new programs. I can recall examples from Python's documentation; ask me, "
    "for example: Show me how to use collections.Counter"
)
FOREIGN_NAMES = """
numpy.array, numpy.zeros, numpy.dot, pandas.DataFrame, pandas.read_csv, requests.get, requests.post,
flask.Flask, django.db, torch.nn.Linear, torch.tensor, tensorflow.keras, matplotlib.pyplot.plot,
scipy.optimize, sklearn.svm, pytest.fixture, sqlalchemy.orm, pydantic.BaseModel, fastapi.FastAPI,
transformers.pipeline, foo, foo.bar, bar.baz, xyzzy
"""
UNKNOWN_ANSWER = (
    "I do not remember that name from the documentation of Python 3.11. It may not exist, or it "
    "may belong to another library."
)
REWORDINGS = {
    "How do I ": ["How can I ", "How to ", "How do you ", "how can i ", "how do i ", "How would I ",
    "Show me how to ",
                  "I want to ", "Please tell me how to ", "Python: how to "],
    "Write ": ["Please write ", "Can you write ", "write ", "Write me ", "Could you write "],
    "What is ": ["What's ", "what is ", "Tell me what is ", "Explain what is "],
    "Show me ": ["Can you show me ", "show me ", "Please show me ", "Give me "],
}  # fmt: skip
SUM_QUESTIONS = [
    "What is {} {} {}?",
    "{} {} {}",
    "Compute {} {} {}",
    "How much is {} {} {}?",
    "{} {} {} =",
    "What's {} {} {}?",
]


class Intent(NamedTuple):
    """Several ways to ask the same thing, and the answers that fit any of them."""

    questions: list[str]
    answers: list[str]


def read_intents() -> list[Intent]:
    """The blocks of smalltalk.txt, its first line (the explanation) left out."""
    blocks = Path(__file__).with_name("smalltalk.txt").read_text(encoding="utf-8").rstrip("\n").split("\n---\n")[1:]
    return [_read_intent(block) for block in blocks]


def _read_intent(block: str) -> Intent:
    questions, *answers = ("\n" + block).split("\n! ")
    return Intent([line.removeprefix("? ") for line in questions.split("\n") if line], answers)


def pairs(rng: random.Random, rounds: int, known_names: list[str]) -> list[tuple[str, str]]:
    """(question, answer) pairs; each round asks every hand-written question once, in other words."""
    intents = read_intents()
    chosen: list[tuple[str, str]] = []
    for _ in range(rounds):
        chosen += [
            (_reworded(question, rng), rng.choice(intent.answers))
            for intent in intents
            for question in intent.questions
        ]
        for topic in _listed(FOREIGN_TOPICS):
            chosen.append((_reworded(rng.choice(FOREIGN_QUESTIONS).format(topic), rng), FOREIGN_ANSWER))
        chosen += [(rng.choice(PROGRAM_REQUESTS).format(task), PROGRAM_ANSWER) for task in _listed(PROGRAM_TASKS)]
        chosen += [_unknown(name, rng) for name in _listed(FOREIGN_NAMES)]
        chosen += [_unknown(_invented_name(known_names, rng), rng) for _ in range(60)]
        chosen += [sum_pair(rng) for _ in range(300)]
    return chosen


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.replace("\n", " ").split(",")]


def _reworded(question: str, rng: random.Random) -> str:
    """The question, half of the time begun or ended in another way."""
    for opening, others in REWORDINGS.items():
        if question.startswith(opening) and rng.random() < 0.5:
            question = rng.choice(others) + question.removeprefix(opening)
    if rng.random() < 0.2:
        question = question.rstrip("?.!")
    if rng.random() < 0.1:
        question = question.lower()
    return question


def _invented_name(known_names: list[str], rng: random.Random) -> str:
    """A module of one known name and the last part of another, unless that is a known name too."""
    while True:
        owner, last = rng.choice(known_names).rpartition(".")[0], rng.choice(known_names).rpartition(".")[2]
        if owner and (name := f"{owner}.{last}") not in known_names:
            return name


def _unknown(name: str, rng: random.Random) -> tuple[str, str]:
    asked = rng.choice(["What does {} do?", "What is {}?", "Explain {}", "Show me how to use {}", "How does {} work?"])
    return asked.format(name), UNKNOWN_ANSWER


def sum_pair(rng: random.Random) -> tuple[str, str]:
    highest = rng.choice([10, 20, 100])
    a, b = rng.randrange(highest), rng.randrange(highest)
    results = {"+": a + b, "-": a - b} | ({"*": a * b} if highest <= 20 else {})
    sign = rng.choice(list(results))
    return rng.choice(SUM_QUESTIONS).format(a, sign, b), f"{a} {sign} {b} = {results[sign]}"
