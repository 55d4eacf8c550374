"""The pages and the API: a blueprint a concern. Views parse and render; services act."""
