"""The pattern language: what one mail server's log lines look like, and finding them in blocks."""
