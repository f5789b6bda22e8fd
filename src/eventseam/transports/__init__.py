"""Where messages travel between services: one file for each kind of broker."""
