"""What a frozen backbone makes of the faces: computed once, kept beside the data."""
