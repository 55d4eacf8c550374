"""Renders chat templates, one at a time, for one gateway worker.

A process of its own, because nothing else can be ended in the middle of a template: its loops may be endless in
effect, and one multiplication of a text may take all memory.
"""
