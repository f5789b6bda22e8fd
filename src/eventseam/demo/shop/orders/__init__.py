"""Orders: accepts what customers place, and says at the end whether it is confirmed or rejected."""
