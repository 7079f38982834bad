"""Answering Postfix: the wire formats, the lookup and the sockets."""
