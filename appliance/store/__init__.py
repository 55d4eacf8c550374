"""What the appliance remembers: one SQLite file that one process writes, through one connection, and others read."""
