"""The data plane: what turns a prompt into tokens."""
