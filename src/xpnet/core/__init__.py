"""The mathematics: activations, losses, optimisers, and the chain rule over leaf operations."""
