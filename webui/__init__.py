"""The console: what a browser shows of the appliance, and what people change with it.

It has no privilege: it reads databases, and asks the controller on its socket. Nothing here imports the engine's data
plane.
"""
