"""What every room needs: errors, strict settings, files on any file system, locks, signals."""
