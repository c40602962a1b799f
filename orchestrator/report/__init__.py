"""What a run came to: tables, figures and the page."""
