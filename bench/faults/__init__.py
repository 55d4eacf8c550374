"""Ends and stops the appliance's processes, again and again under load, and looks what became of every answer."""
