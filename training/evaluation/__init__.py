"""What training/evaluate.py measures and draws; each module is one kind of number or picture."""
