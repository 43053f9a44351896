"""From official dataset layouts (or the stand-in) to memory-mapped face crops. Knows no method."""
