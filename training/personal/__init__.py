"""A generator of one person: frames of her are chosen, her face is fitted, and the corrector is tuned to her."""
