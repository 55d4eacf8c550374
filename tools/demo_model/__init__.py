"""The parts of the demo model's recipe: text in, a small Llama out. Only `tools/train_demo_model.py` uses them."""
