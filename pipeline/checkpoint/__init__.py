"""The checkpoint room: bytes in, bytes out. Reads headers and moves bytes.

Never averages anything and never loads torch.
"""
