"""The least rights that the daemon's account needs at each engine.  Pure."""

from __future__ import annotations

ACL = (
    "~pbs-watch:* resetchannels -@all +ping +info +time +get +set +incrby +type +unlink +hget "
    "+hset +hdel +hlen +hgetall +pttl +pexpireat +scan +eval +evalsha +script|load +watch +unwatch "
    "+multi +exec +select +config|get"
)
"""What the ACL user needs, and nothing else: for ``ACL SETUSER pbs-watch on >PASSWORD ...``."""

SENTINEL_ACL = "resetchannels -@all +ping +sentinel|get-master-addr-by-name +sentinel|masters"
"""What it needs at the Sentinels, which have users of their own."""

RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
"""What the account needs on the tables; ``pbs-watch shared init`` needs CREATE as well."""
