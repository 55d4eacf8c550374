"""What the SLO page says beside the form: what the policy would do, and how the promises were kept."""
