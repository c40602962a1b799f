"""Which trials a sweep tries, when it stops them, and what wins."""
