"""What the winner is used for: exported, it runs without fairfront."""
