"""The admin API, `/api/v1`: the powers of the pages, for programs."""
