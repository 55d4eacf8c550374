"""What holds for every request: who may ask from where, and what a browser may do with the answer."""
