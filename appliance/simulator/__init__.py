"""The real scheduler, allocator and policy over workers whose steps take the time that a model says. No torch."""
