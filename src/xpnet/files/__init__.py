"""Model files, checkpoints, and the exchange with other formats."""
