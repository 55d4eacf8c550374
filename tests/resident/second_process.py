"""Maps the resident's memory like a worker, tells on standard output what it sees, and leaves a mark in it.

`python -m tests.resident.second_process SOCKET`. KV byte 5 is read, byte 6 is written, page 3 of the ledger is taken.
"""

from __future__ import annotations

import hashlib
import json
import sys

from engine.device.open_device import open_device
from engine.resident.attachment import attach
from tests.resident.mappings import inodes


def main() -> None:
    with attach(sys.argv[1], timeout=10) as memory:
        device = open_device(memory.manifest.device)
        weights, kv, ledger = memory.map_weights(device), memory.map_kv(device), memory.ledger()
        seen = {
            "inodes": inodes(),
            "weights": hashlib.sha256(weights.numpy().tobytes()).hexdigest(),
            "kv_byte": int(kv[5]),
            "used_pages": ledger.used_pages(),
        }
        kv[6] = 23
        ledger.take([3], 77, 2)
        print(json.dumps(seen))


if __name__ == "__main__":
    main()
