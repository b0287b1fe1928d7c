"""Networks of others and how large a network is: what training and measuring need beside icface/networks."""
