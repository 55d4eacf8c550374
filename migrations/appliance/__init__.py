"""`appliance.db`. A new revision: `python -m appliance.store.revision "what changes"`."""
