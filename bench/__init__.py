"""What this project claims, measured. The load client speaks to any OpenAI-compatible endpoint and knows nothing of
torch; only `micro` and `agreement` do.
"""
