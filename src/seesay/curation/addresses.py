"""Where a URL of strangers may lead: which forms are taken, and which addresses are never reached.

A name is resolved once, all of its addresses are checked, and what is returned is what is connected to: a name that
answers otherwise the next time (DNS rebinding) gains nothing. The list of networks is our own, from the registries of
special-purpose addresses (RFC 6890 and IANA's tables); `ipaddress.is_global` lets some of them through.
"""

import ipaddress
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from seesay.base.errors import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Not public: this network, private, shared, loopback, link-local (with the metadata of clouds), protocol assignments,
# documentation, 6to4 relays, benchmarks, multicast, reserved and broadcast; and an address of public form that is a
# service of Azure inside of each of its machines.
DENIED_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    )
)
# Of IPv6 only what is assigned as global unicast, and of that not what stands for addresses of IPv4 or for examples:
# mapped addresses, NAT64, unique local, link-local and multicast lie outside of it.
GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
DENIED_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
DEFAULT_PORTS = {"http": 80, "https": 443}
# Bytes of a URL; what servers take at most (RFC 9110 asks for 8,000 at least, and images have shorter ones).
MOST_URL_BYTES = 4096
# Seconds that what a name resolves to is remembered, the names that are, and those asked for at once; guesses. A system
# may ask for half a minute for a name whose server is silent: each such name has a thread as long.
REMEMBERED_SECONDS, REMEMBERED_NAMES, RESOLVERS = 60.0, 1 << 14, 1024


class FetchError(Exception):
    """Why a URL gives no image: a reason that is counted, and whether another try may help, after `wait` seconds."""

    def __init__(self, reason: str, *, may_retry: bool = False, wait: float | None = None):
        super().__init__(reason)
        self.reason = reason
        self.may_retry = may_retry
        self.wait = wait


class Target(NamedTuple):
    """What a URL asks for: host is ASCII, `path` holds the query too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The host as HTTP names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """The parts of a URL; `FetchError` for one that is not plain http or https."""
    if len(url.encode("utf-8", "surrogatepass")) > MOST_URL_BYTES:
        raise FetchError("URL too long")
    if any(ord(letter) <= 0x20 or 0x7F <= ord(letter) <= 0x9F or letter == "\\" for letter in url):
        raise FetchError("bad URL")
    try:
        parts = urlsplit(url)
        port = parts.port
        if parts.scheme not in DEFAULT_PORTS:
            raise FetchError("scheme not allowed")
        # Names of other alphabets are in their ASCII form; full-width digits become digits.
        host = host_of(url)
        path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
        query = quote(parts.query, safe="/%:=&~+!$,;'@()*[]?")
    except (ValueError, UnicodeError) as error:
        raise FetchError("bad URL") from error
    if "@" in parts.netloc or not host or port == 0 or len(host) > 253:
        raise FetchError("bad URL")
    if not all(letter.isalnum() or letter in "-._:" for letter in host):
        raise FetchError("bad URL")
    return Target(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], f"{path}?{query}" if query else path)


def host_of(url: str) -> str:
    """The host of a URL in the one form that names it in lists, ASCII and without a dot at its end; empty for none."""
    try:
        host = urlsplit(url).hostname or ""
        # Of the dots of other alphabets, one at the end is there only after this.
        return (host if host.isascii() else host.encode("idna").decode("ascii")).rstrip(".")
    except (ValueError, UnicodeError):
        return ""


def networks(words: Sequence[str]) -> tuple[Network, ...]:
    """Networks by their usual notation; `UsageError` for what is none."""
    try:
        return tuple(ipaddress.ip_network(word) for word in words)
    except ValueError as error:
        raise UsageError(f"--allow-private: {error}; write it as 127.0.0.1 or 10.1.0.0/16.") from error


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, and nothing that stands for another one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in DENIED_4)
    # ISATAP, RFC 5214, section 6.1: whatever the network, its router sends on to the address of IPv4 at the end.
    if (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE and not is_public(
        ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    ):
        return False
    return address in GLOBAL_6 and not any(address in network for network in DENIED_6)


class Resolver:
    """Names to addresses that may be reached. Each is asked for in a thread of its own: a slow answer holds up its name
    alone, and not the end of the program.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int],
        allowed: Sequence[Network] = (),
        deadline: float,
        lookup: Callable[[str], list[str]] | None = None,
    ):
        self._ports = frozenset(ports)
        self._allowed = tuple(allowed)
        self._deadline = deadline
        self._lookup = lookup or _lookup
        self._room = threading.BoundedSemaphore(RESOLVERS)
        self._asked: dict[str, tuple[float, Future[list[str]]]] = {}
        self._lock = threading.Lock()

    def addresses(self, target: Target, *, seconds: float = math.inf) -> list[Address]:
        """Every address of a host, each of which may be reached at its port; `FetchError` where one may not, or no
        answer comes by the deadline of the settings or in so many `seconds`.
        """
        names = self._names(target.host, min(seconds, self._deadline))
        found = [ipaddress.ip_address(text.partition("%")[0]) for text in names]
        if not found:
            raise FetchError("name not found", may_retry=True)
        own = [any(address in network for network in self._allowed) for address in found]
        if not all(is_own or is_public(address) for address, is_own in zip(found, own, strict=True)):
            raise FetchError("blocked address")
        if target.port not in self._ports and not all(own):
            raise FetchError("port not allowed")
        return found

    def _ask(self, host: str, answer: Future[list[str]]) -> None:
        try:
            answer.set_result(self._lookup(host))
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer raises it
            answer.set_exception(error)
        finally:
            self._room.release()

    def _names(self, host: str, seconds: float) -> list[str]:
        now = time.monotonic()
        with self._lock:
            asked = self._asked.get(host)
            if asked is None or now - asked[0] > REMEMBERED_SECONDS:
                if not self._room.acquire(blocking=False):
                    raise FetchError("name not resolved in time", may_retry=True)
                if len(self._asked) >= REMEMBERED_NAMES:
                    self._asked.clear()
                asked = self._asked[host] = (now, Future())
                threading.Thread(target=self._ask, args=(host, asked[1]), daemon=True, name=f"resolve {host}").start()
        try:
            return asked[1].result(timeout=max(0.0, seconds))
        except FutureTimeout as error:
            raise FetchError("name not resolved in time", may_retry=True) from error
        except (OSError, UnicodeError) as error:
            is_passing = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            if is_passing:
                with self._lock:
                    self._asked.pop(host, None)
            raise FetchError("name not found", may_retry=is_passing) from error


def _lookup(host: str) -> list[str]:
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))
