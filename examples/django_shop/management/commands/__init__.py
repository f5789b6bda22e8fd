"""manage.py run_engine."""
