"""Every transport means the same, and every scenario that says so can fail."""
