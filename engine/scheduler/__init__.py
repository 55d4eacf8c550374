"""The one process that decides: admission, batches, pages, routes. It knows nothing of torch."""
