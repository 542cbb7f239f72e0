"""Array libraries, devices and dtypes."""
