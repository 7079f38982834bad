"""What the operator orders wins: over the log, over open sessions, over what comes later."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.grants.address import canonical, network, overlap, widened
from pbs_watch.grants.changes import Changes, Hold, SessionKey, grant
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.rows import order_key, pack_order, pack_time, unpack_order
from pbs_watch.grants.void import Voiding

NOW = 1_795_337_040.0
A, B = b"198.18.0.1", b"2001:db8::1"


def allowing(*texts: str, until: float | None = None) -> list[Allow]:
    return [Allow(canonical(network(text)), NOW, until) for text in texts]


def barring(*texts: str, until: float = NOW) -> list[Bar]:
    return [Bar("network", canonical(network(text)), NOW, until) for text in texts]


def test_the_longest_prefix_wins() -> None:
    orders = Orders(
        1,
        allowing("198.18.0.0/16", "198.18.7.7", "2001:db8::/48"),
        barring("198.18.7.0/24", "2001:db8::/64", until=NOW + 9),
    )
    for address, allowed in (
        (b"198.18.0.1", b"198.18.0.0/16"),
        (b"198.18.7.8", None),
        (b"198.18.7.7", b"198.18.7.7"),
        (b"198.19.0.1", None),
        (b"2001:db8:0:1::1", b"2001:db8::/48"),
        (b"2001:db8::1", None),
    ):
        found = orders.allowed(address, NOW)
        assert (found and found.network) == allowed, address
    # A block that is over is a revocation, which does not concern what is allowed by hand.
    later = orders.allowed(b"198.18.7.8", NOW + 9)
    assert later is not None


def test_an_allow_ends_and_the_one_around_it_goes_on() -> None:
    orders = Orders(
        1, [Allow(b"198.18.0.1", NOW, NOW + 9), Allow(b"198.18.0.0/24", NOW, None, "office")]
    )
    within, after = orders.allowed(A, NOW + 8), orders.allowed(A, NOW + 9)
    assert within is not None
    assert after is not None
    assert (within.network, after.note) == (b"198.18.0.1", "office")


def test_a_bar_voids_what_began_before_it_and_nothing_else() -> None:
    orders = Orders(
        1,
        bars=[
            Bar("user", b"bob", NOW, NOW),
            Bar("network", b"198.18.9.0/24", NOW, NOW + 60),
            Bar("everybody", b"", NOW, NOW - 600),
        ],
    )
    for address, user, began, barred in (
        (A, b"bob", NOW, True),
        (A, b"bob", NOW + 0.001, False),
        (A, b"bobby", NOW, False),
        (A, b"eve", NOW - 600, True),
        (b"198.18.9.9", b"eve", NOW + 60, True),
        (b"198.18.9.9", b"eve", NOW + 61, False),
        (B, b"eve", NOW, False),
    ):
        assert (orders.bar(address, user, began) is not None) == barred, (address, user, began)


_ADDRESSES = st.one_of(
    st.ip_addresses(v=4, network="198.18.0.0/29"), st.ip_addresses(v=6, network="2001:db8::/125")
)
_NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4, network="198.18.0.0/29"), st.integers(26, 32)),
    st.tuples(st.ip_addresses(v=6, network="2001:db8::/125"), st.integers(120, 128)),
).map(lambda pair: ipaddress.ip_network(pair, strict=False))


@settings(max_examples=300, deadline=None)
@given(
    allowed=st.lists(_NETWORKS, max_size=5, unique=True),
    blocked=st.lists(_NETWORKS, max_size=5, unique=True),
    address=_ADDRESSES,
)
def test_any_orders_are_as_a_plain_search_says(
    allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    blocked: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    orders = Orders(
        1,
        [Allow(canonical(one), NOW, None) for one in allowed],
        [Bar("network", canonical(one), NOW, NOW + 9) for one in blocked],
    )
    longest = max((one.prefixlen for one in allowed if address in one), default=-1)
    block = max((one.prefixlen for one in blocked if address in one), default=-1)
    found = orders.allowed(str(address).encode(), NOW)
    assert (found is not None) == (longest >= 0 and longest >= block)
    barred = orders.bar(str(address).encode(), b"bob", NOW)
    assert (barred is not None) == (block >= 0)


@given(one=_NETWORKS, other=_NETWORKS)
def test_networks_overlap_as_the_library_says(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network,
    other: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    expected = one.version == other.version and one.overlaps(other)
    assert overlap(canonical(one), canonical(other)) == expected


def test_networks_have_one_form() -> None:
    for text, form in (
        ("::ffff:198.18.0.0/112", b"198.18.0.0/16"),
        ("::ffff:198.18.0.1", b"198.18.0.1"),
        ("198.18.0.1/32", b"198.18.0.1"),
        ("2001:DB8:0::/48", b"2001:db8::/48"),
        ("2001:db8::1/128", b"2001:db8::1"),
    ):
        assert canonical(network(text)) == form
    assert widened(b"2001:db8:1:2:3::4", 64) == b"2001:db8:1:2::/64"
    assert widened(b"198.18.0.1", 64) == b"198.18.0.1"


def test_orders_are_kept_as_they_were_given() -> None:
    for order in (
        Allow(b"198.18.0.0/24", NOW + 0.123456, None, 'a "note"\n'),
        Allow(A, NOW, NOW + 60),
        Bar("network", B, NOW, NOW + 60, "n"),
        Bar("user", b"e\xffve\\", NOW, NOW),
        Bar("everybody", b"", NOW, NOW - 5),
    ):
        assert unpack_order(order_key(order), pack_order(order)) == order


def test_what_is_not_committed_obeys_orders_given_meanwhile() -> None:
    """The batch being committed too: whoever commits it reads the orders himself."""
    pending = Pending()
    key = SessionKey(b"imapd", b"bob", b"1")
    for address, user in ((A, b"bob"), (B, b"eve")):
        pending.making.login(address, grant(NOW + 60, NOW, user, b"imapd"))
        pending.making.session(address, key._replace(user=user), Hold(NOW + 90, NOW))
    handed_over = pending.hand_over()
    pending.making.login(A, grant(NOW + 61, NOW + 1, b"eve", b"pop3d"))
    pending.making.login(B, grant(NOW + 62, NOW + 2, b"bob", b"pop3d"))
    assert pending.allows(A, NOW)
    pending.obey(Orders(7, bars=[Bar("user", b"bob", NOW + 1, NOW + 1)]))
    assert pending.allows(A, NOW + 60.5)  # by eve
    assert not pending.allows(A, NOW + 61)
    assert pending.allows(B, NOW + 61.5)  # bob came again after the order
    pending.obey(Orders(8, bars=[Bar("everybody", b"", NOW + 3, NOW + 3)]))
    assert not pending.allows(A, NOW)
    assert not pending.allows(B, NOW)
    assert len(handed_over.logins) == 2  # nobody touches it while it is written
    pending.failed()
    assert not pending.allows(A, NOW)
    assert not pending.hand_over().logins


def test_a_batch_remembers_the_oldest_orders_it_was_judged_by() -> None:
    batch, later = Changes(3), Changes(5)
    batch.append(later)
    assert batch.orders == 3


_ANY = st.ip_addresses() | st.ip_addresses(v=4, network="198.0.0.0/7")


@settings(max_examples=200, deadline=None)
@given(address=_ANY, length=st.integers(0, 128), other=_ANY)
def test_what_a_bar_makes_void_is_among_the_rows_that_are_looked_at(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    length: int,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    barred = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    voiding = Voiding([Bar("network", canonical(barred), NOW, NOW)], NOW, Orders())
    for one in (address, other, barred[0], barred[-1]):
        key = canonical(network(str(one)))
        for granted in (key, widened(key, 64)):
            if voiding.void(granted, b"bob", pack_time(NOW)):
                assert any((granted + b"\0").startswith(start) for start in voiding.starts(b"\0"))
