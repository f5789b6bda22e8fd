"""What tests need and production never imports: real servers that start by themselves, and the fixtures over them."""
