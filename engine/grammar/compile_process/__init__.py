"""Compiles schemas, one at a time, for one gateway worker.

A process of its own, because nothing else can be ended in the middle of a compilation, or survives one that takes all
memory or the whole stack.
"""
