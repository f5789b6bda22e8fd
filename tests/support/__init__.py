"""What tests of a running engine share: a tiny conversation, seams that can be moved, and a look into the file."""
