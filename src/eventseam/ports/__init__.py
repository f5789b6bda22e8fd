"""What Eventseam asks of I/O. An adapter's author reads this package and nothing else."""
