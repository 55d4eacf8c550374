"""Rotation: another group of two processes, at another split, takes over while requests stream."""

from appliance.rotation.manager import ProcessRotationManager
from engine.allocation import SMAllocation

__all__ = ["ProcessRotationManager", "SMAllocation"]
