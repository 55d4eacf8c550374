"""A whole appliance in one thread, with a clock, a network and faults that follow from a seed.

The scheduler with its service, pages, prefix tree and ledger, the phases of a worker, the gateway's journal, the
controller's lines and the rotation table are the product's own. Processes, sockets, time and the model are not.
"""
