"""Public tables as they come, in xpnet's command line and in scikit-learn's pipeline."""
