"""The checkpoint room: bytes in, bytes out. Reads headers and moves bytes; never averages anything, never loads torch."""
