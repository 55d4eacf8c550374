"""`console.db`: who may use the console, who does, and what they have done. Only the console writes it."""
