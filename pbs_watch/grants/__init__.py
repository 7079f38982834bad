"""From log events to grants, and the LMDB map that keeps them."""
