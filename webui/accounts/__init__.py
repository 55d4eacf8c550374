"""Who may use the console: users, the browsers they are logged in with, tokens of programs, and what they did."""
