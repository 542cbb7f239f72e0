"""xpnet's step beside its peers' and beside the time of its matrix products alone."""
