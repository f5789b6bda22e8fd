"""A shop with FastAPI and SQLAlchemy: requests publish on their own AsyncSession."""
