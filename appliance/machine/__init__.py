"""The appliance as services of a machine: its settings in files, its controller beside processes systemd starts."""
