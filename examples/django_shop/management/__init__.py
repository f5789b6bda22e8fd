"""Where manage.py finds the commands below."""
