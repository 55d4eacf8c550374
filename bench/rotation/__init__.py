"""Rotates a running appliance again and again under load, and looks what streams notice of it."""
