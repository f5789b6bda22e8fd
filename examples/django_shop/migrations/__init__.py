"""Django's migrations: the tables of models.py."""
