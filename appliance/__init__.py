"""The control plane: what starts, watches and re-splits the data plane."""
