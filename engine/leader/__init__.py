"""A slot's group leader: keeps imported spare workers and makes groups of them. It knows no torch."""
