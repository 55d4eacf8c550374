"""How fast each phase is in each part of the device beside the other one, and whether it computes right there."""
