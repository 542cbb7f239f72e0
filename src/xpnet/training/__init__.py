"""The training loop, what it is asked, and what it records."""
