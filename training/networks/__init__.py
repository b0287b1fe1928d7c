"""Networks and weights of others, and the size of a network. Only training, measuring and benchmarks need them."""
