"""Load that shifts from prompts to answers and back, under the policy and at each split of the ladder."""
