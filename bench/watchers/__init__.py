"""Whether people who watch the console slow a token: the same streams, in turn with nobody watching and with many."""
