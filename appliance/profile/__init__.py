"""The machine's profile: measured once, kept, and asked for what may be offered."""
