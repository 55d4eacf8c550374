"""The parts of the demo model's recipe (`tools/train_demo_model.py`): text in, a small Llama out."""
