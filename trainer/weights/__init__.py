"""Import weights of other projects, export weights for other programs."""
