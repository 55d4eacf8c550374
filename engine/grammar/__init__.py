"""Structured output: schemas become grammars in a process of their own, grammars become masks over the vocabulary."""
