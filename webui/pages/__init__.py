"""What all pages share: the layout, how values are written, and how problems are shown."""
