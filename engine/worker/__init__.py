"""A worker computes what it is ordered to over memory it maps, and holds nothing another worker could not be handed."""
