"""The logs of all processes, as one."""
