"""One unit of work in one worker: bytes in, arithmetic, bytes out. Decides nothing."""
