"""How other processes ask the controller: commands and console on one side, the coordinator on the other."""
