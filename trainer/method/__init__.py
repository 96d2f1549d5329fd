"""The objective, its networks and its memory bank, and what watches over them."""
