"""The journal: the append-only table of everything published. Appending to it, reading its tail, and its bounds."""
