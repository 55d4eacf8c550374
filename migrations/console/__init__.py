"""Revisions of `console.db`, each with its way back."""
