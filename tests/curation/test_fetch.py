"""Fetching from a server on loopback: what is good comes, what is hostile ends in time and is counted."""

import errno
import hashlib
import io
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hostile_hosts import GOOD, answer, canary, hostile_server, jpeg
from PIL import Image
from pyarrow import parquet

import seesay
from seesay.curation import download as download_file
from seesay.curation import fetch as fetch_file
from seesay.curation import schedule as schedule_file
from seesay.curation import shards as shards_file
from seesay.curation.addresses import FetchError, is_public, parse_url
from seesay.curation.download import Body, Downloader, forbids_robots, seconds_of
from seesay.curation.fetch import fetch_all, may_pass, watched
from seesay.curation.schedule import Schedule
from seesay.curation.settings import FetchSettings

LOCAL = {"allow_private": ("127.0.0.1",)}
QUICK = {"deadline": 1.0, "retries": 0}


@pytest.fixture(scope="module")
def server():
    with hostile_server() as running:
        yield running


@pytest.fixture(scope="module")
def listener():
    """The port of a listener on loopback, and a list of who connected, which has to be empty in the end too."""
    with canary() as (port, hits):
        yield port, hits
        time.sleep(0.1)
        assert not hits


@pytest.fixture
def downloader():
    """A function that makes a downloader which may reach loopback."""

    def make(lookup=None, **settings):
        return Downloader(settings=FetchSettings(**{**LOCAL, **QUICK, **settings}), lookup=lookup)

    return make


def as_sent(body):
    return body.read(), (64, 48), "0" * 64


def reason_of(source, url):
    with pytest.raises(FetchError) as caught:
        source.get(url)
    return caught.value.reason


def test_a_good_image_comes_as_it_is(server, downloader):
    assert downloader().get(server.url("/good/1")) == jpeg("/good/1")
    request = server.headers[-1].decode()
    assert "Accept-Encoding: identity" in request and f"Host: 127.0.0.1:{server.port}" in request
    assert "Cookie" not in request and "Authorization" not in request


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "HTTP 404"),
        ("/broken", "HTTP 500"),
        ("/later", "HTTP 429"),
        ("/short", "not proper HTTP"),
        ("/negative", "not proper HTTP"),
        ("/two-lengths", "not proper HTTP"),
        ("/large", "too many bytes"),
        ("/endless", "too many bytes"),
        ("/bomb", "too many bytes"),
        ("/nested", "unknown encoding"),
        ("/brotli", "unknown encoding"),
        ("/long-header", "not proper HTTP"),
        ("/many-headers", "not proper HTTP"),
        ("/noai", "forbidden by X-Robots-Tag"),
        ("/junk", "not proper HTTP"),
        ("/closed", "not proper HTTP"),
        ("/half", "not proper HTTP"),
        ("/loop", "too many redirects"),
        ("/to-nowhere", "redirect to nowhere"),
        ("/to?http://[::1/", "bad URL"),
        ("/continue", "not proper HTTP"),
        ("/switch", "not proper HTTP"),
        ("/chunked-endless", "too many bytes"),
        ("/chunked-long", "not proper HTTP"),
        ("/hops/6", "too many redirects"),
        ("/to?file:///etc/passwd", "scheme not allowed"),
        ("/to?ftp://127.0.0.1/x", "scheme not allowed"),
        ("/to?http://10.0.0.1/", "blocked address"),
        ("/to?http://169.254.169.254/latest/meta-data/", "blocked address"),
        ("/to?http://user:secret@127.0.0.1/", "bad URL"),
    ],
)
def test_what_is_no_image_has_a_reason(server, downloader, path, reason):
    assert reason_of(downloader(deadline=20.0), server.url(path)) == reason


@pytest.mark.journey
@pytest.mark.parametrize("path", ["/drip-headers", "/drip-body", "/stall"])
def test_a_server_that_drips_is_left_at_the_deadline(server, downloader, path):
    """The deadline is for all of it, and not for each byte: a drip comes twenty times a second."""
    started = time.monotonic()
    assert reason_of(downloader(deadline=1.0), server.url(path)) == "deadline"
    assert 0.9 < time.monotonic() - started < 15


@pytest.mark.journey
def test_a_body_below_the_least_rate_is_left_before_the_deadline(server, downloader):
    assert reason_of(downloader(deadline=60.0), server.url("/drip-body")) == "too slow"


def test_a_full_disk_for_large_bodies_ends_the_command_and_is_no_failure_of_the_server(tmp_path, server, monkeypatch):
    class Full(Body):
        def __init__(self, *given):
            super().__init__(*given)
            self.file.close()
            self.file = SimpleNamespace(write=self.refuse, close=lambda: None)

        def refuse(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_file, "Body", Full)
    table = write_pool(tmp_path / "pool.parquet", [server.url("/good/1")])
    with pytest.raises(seesay.StorageError, match="the disk is full"):
        seesay.curate(table, out=tmp_path / "set", stages=["fetch"], allow_private="127.0.0.1")


def test_redirects_are_followed_as_far_as_the_settings_say(server, downloader):
    assert downloader().get(server.url("/hops/5")) == GOOD
    assert reason_of(downloader(redirects=1), server.url("/hops/2")) == "too many redirects"


def test_a_body_that_is_packed_without_being_asked_is_unpacked(server, downloader):
    assert downloader().get(server.url("/packed")) == GOOD


def test_robots_are_obeyed_by_default_alone(server, downloader):
    assert downloader(obey_robots=False).get(server.url("/noai")) == GOOD
    assert downloader().get(server.url("/other-robot")) == GOOD


@pytest.mark.parametrize(
    ("values", "is_forbidden"),
    [
        (["noai"], True),
        (["NoImageAI, nosnippet"], True),
        (["seesay: noai"], True),
        (["googlebot: noai"], False),
        (["nofollow"], False),
        ([], False),
        (["googlebot: nofollow", "noindex"], True),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], False),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], True),
        (["unavailable_after: Friday, 25-Jun-30 15:00:00 GMT, noai"], True),
        (["max-snippet:-1, noai"], True),
        (["max-image-preview: none"], False),
        (["googlebot: nofollow, noai, seesay: noimageai"], True),
        (["googlebot: nofollow, noai, seesay: nofollow"], False),
        (["*: none"], True),
    ],
)
def test_robots_tags_are_read_by_agent_and_word(values, is_forbidden):
    assert forbids_robots(values) == is_forbidden


# Section D1, D3 and D23 of the fault matrix: what may stand in a list of URLs.
LOOPBACK_NAMES = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
    "0", "0.0.0.0", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "127.000.000.001", "127.255.255.254",
    "１２７.０.０.１", "127。0。0。1", "ⓛocalhost", "127.0.0.1%2e", "%31%32%37.0.0.1", "user@127.0.0.1",
    "good.example@127.0.0.1", "127.0.0.1#@good.example", "127.0.0.1\\@good.example",
    "good.example\\@127.0.0.1", "[::1%25lo]", "0x7f.1", "0177.1", "00000177.0.0.1", "127.0.0.1&x",
    # Addresses of IPv6 that stand for 127.0.0.1 and 169.254.169.254, and the latter's own spellings.
    "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]", "[::127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]", "[fd00:ec2::254]",
    "[fe80::1%25lo]", "169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518",
    # Letters that become others or nothing on the way to a name, and dots of other alphabets.
    "lo\u00adcalhost", "local\u200bhost", "local\u2060host", "ⓁⓄⒸⒶⓁⒽⓄⓈⓉ", "①②⑦.⓪.⓪.①", "127．0．0．1", "127｡0｡0｡1",
    "127.0.0.¹", "𝟙𝟚𝟟.𝟘.𝟘.𝟙", "ｌｏｃａｌｈｏｓｔ", "localhoſt",
    # Numbers in mixed bases, too large ones, and names that a system gives itself.
    "0X7F000001", "0x7f.0x0.0x0.0x1", "0177.0x0.01", "127.0x1", "00", "0x0", "0.0", "4294967297", "127.0.0.257",
    "0x17f000001", "ip6-localhost", "ip6-loopback", "localhost.localdomain", "x.localhost",
    # Brackets, zones, and what two readers of one URL take for its host.
    "[::ffff:127.0.0.1%25lo]", "[::1%lo]", "[0::1]", "[::0.0.0.1]", "[v1.127.0.0.1]", "[127.0.0.1]", "[::1].", "[::1]x",
    "[::1]@good.example", "@127.0.0.1", ":@127.0.0.1", "good.example:80@127.0.0.1", "127.0.0.1;good.example",
    "127.0.0.1%00", "127.0.0.1%09", "127.0.0.1%23", "good.example,127.0.0.1", "[2001:470::5efe:7f00:1]",
]  # fmt: skip


@pytest.mark.parametrize("name", LOOPBACK_NAMES)
@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_loopback_is_reached_by_no_spelling(downloader, listener, scheme, name):
    """Names are resolved by the system; a listener on loopback must see nobody."""
    port, hits = listener
    source = downloader(allow_private=(), ports=(80, 443, port))
    host, mark, rest = name.partition("#")
    with pytest.raises(FetchError):
        source.get(f"{scheme}://{host}:{port}{mark}{rest}/x.jpg")
    assert not hits


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/a", "data:image/png;base64,AAAA", "gopher://example.org/",
        "jar:http://a!/b", "//example.org/a", "example.org/a.jpg", "", "http://", "http:///a",
        "javascript:alert(1)", "http:example.org", "http://a b/", "http://a/\r\nX: y", "http://a/\0",
        "http://a\x7f/", "http://a:b/", "http://a:99999/", "http://a:0/", "http://a:-1/", "http://[::1/",
        "http://a/" + "x" * 5000, "http://" + "a" * 300 + "/", "http://a\u0085b/", "unix:///run/docker.sock",
        "dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "blob:http://a/b", "http://%00/",
        "view-source:http://a",
    ],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused_before_a_name_is_resolved(downloader, url):
    asked = []
    source = downloader(lookup=lambda host: asked.append(host) or ["127.0.0.1"])
    with pytest.raises(FetchError):
        source.get(url)
    assert not asked


# Section D2: the networks, by an address of each.
PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.0.171", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fec0::1", "ff02::1", "::7f00:1", "3fff::1", "5f00::1",
    # Metadata and services of clouds: Alibaba, Oracle, Tencent, Google; Azure's is in nobody's list of networks.
    "100.100.100.200", "192.0.0.192", "169.254.0.23", "fd20:ce::254", "168.63.129.16",
    # IPv4 inside of IPv6: mapped, translated, of Teredo and of ISATAP.
    "::ffff:168.63.129.16", "::ffff:0:10.0.0.1", "64:ff9b::a9fe:a9fe", "2001:0:a00:1::", "fe80::5efe:a00:1",
    "2001:470::5efe:7f00:1", "2001:470::200:5efe:a00:1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_public(downloader, address):
    assert not is_public(ipaddress.ip_address(address))
    source = downloader(lookup=lambda host: [address], allow_private=())
    assert reason_of(source, "http://good.example/") == "blocked address"


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1", "2a00:1450::5efe:808:808"],
)
def test_public_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


def test_a_name_with_one_private_address_among_public_ones_is_refused(downloader):
    source = downloader(lookup=lambda host: ["8.8.8.8", "127.0.0.1"], allow_private=())
    assert reason_of(source, "http://good.example/") == "blocked address"


def test_a_name_that_answers_otherwise_the_second_time_gains_nothing(server, downloader):
    """DNS rebinding: what was checked is what is connected to, and nobody asks again in between."""
    asked = []

    def lookup(host):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    source = downloader(lookup=lookup)
    assert source.get(server.url("/good/1", host="good.example")) == jpeg("/good/1")
    assert asked == ["good.example"]
    assert f"Host: good.example:{server.port}" in server.headers[-1].decode()


def test_a_redirect_to_a_name_of_a_private_address_is_refused(server, downloader):
    names = {"good.example": ["127.0.0.1"], "evil.example": ["127.0.0.2"]}
    with canary() as (port, hits):
        source = downloader(lookup=names.__getitem__)
        assert (
            reason_of(source, server.url(f"/to?http://evil.example:{port}/", host="good.example")) == "blocked address"
        )
        assert not hits


# {there} is a listener that must not be reached.
LEADS = [
    *(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0" for place in (
        "//{there}/", "///{there}/", "/\\{there}/", "\\\\{there}/", "HTTP://{there}/", "http:\\\\{there}/",
        "http:/{there}/", "http:{there}/", "http:////{there}/", "\t//{there}/", "//good.example@{there}/",
        "//{there}\\@good.example/", "http://127.0.0.1@{there}/", "//[::ffff:127.0.0.2]:{port}/", "//127.2:{port}/",
        "//0x7f000002:{port}/", "//2130706434:{port}/", "//127。0。0。2:{port}/", "ftp://{there}/", "gopher://{there}/",
        "file://{there}/etc/passwd",
    )),
    "HTTP/1.1 301 Moved\r\nLocation: http://{there}/\r\nLocation: /good/1\r\nContent-Length: 0",
    "HTTP/1.1 307 Again\r\nlocation:http://{there}/\r\nContent-Length: 0",
    # Nothing of this is to be followed at all.
    "HTTP/1.1 300 Choices\r\nLocation: http://{there}/\r\nContent-Length: 0",
    "HTTP/1.1 305 Use Proxy\r\nLocation: http://{there}/\r\nContent-Length: 0",
    "HTTP/1.1 407 Proxy\r\nLocation: http://{there}/\r\nContent-Length: 0",
    "HTTP/1.1 201 Created\r\nLocation: http://{there}/\r\nContent-Length: 0",
    "HTTP/1.1 404 No\r\nRefresh: 0; url=http://{there}/\r\nContent-Length: 0",
    "HTTP/1.1 103 Hints\r\nLink: <http://{there}/>; rel=preload\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0",
    "HTTP/1.1 421 Elsewhere\r\nAlt-Svc: h2=\"{there}\"\r\nContent-Length: 0",
    "HTTP/1.1 401 Who\r\nWWW-Authenticate: Negotiate\r\nContent-Location: http://{there}/\r\nContent-Length: 0",
]  # fmt: skip


@pytest.mark.parametrize("lead", LEADS)
def test_no_answer_leads_to_an_address_that_is_not_allowed(server, downloader, lead):
    with canary("127.0.0.2") as (port, hits):
        answer = (lead.format(there=f"127.0.0.2:{port}", port=port) + "\r\n\r\n").encode()
        with pytest.raises(FetchError):
            downloader().get(server.url(f"/raw?{answer.hex()}"))
        assert not hits


def test_an_image_that_names_others_leads_nowhere(tmp_path, server):
    """SVG and HTML are read by no decoder here, and what they name is not asked for."""
    with canary("127.0.0.2") as (port, hits):
        page = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.2:{port}/a.jpg"/></svg>'.encode()
        url = server.url(f"/raw?{answer(page, 'Content-Type: image/svg+xml').hex()}")
        table = write_pool(tmp_path / "pool.parquet", [url])
        with pytest.raises(seesay.SeesayError, match="unsupported format"):
            seesay.curate(table, out=tmp_path / "set", stages=["fetch"], allow_private="127.0.0.1")
        assert not hits


@pytest.mark.parametrize("port", [21, 22, 25, 3306, 6379, 8080, 11211])
def test_other_ports_are_refused(downloader, port):
    source = downloader(lookup=lambda host: ["8.8.8.8"], allow_private=())
    assert reason_of(source, f"http://good.example:{port}/") == "port not allowed"


def test_proxies_of_the_environment_are_not_used(server, downloader, monkeypatch):
    with canary() as (port, hits):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert downloader().get(server.url("/good/1")) == jpeg("/good/1")
        assert not hits


def test_a_redirect_may_name_its_place_in_utf8(server, downloader):
    assert downloader().get(server.url("/to-umlaut")) == jpeg("/good/%C3%BC")


@pytest.mark.journey
def test_a_name_that_is_slow_to_resolve_counts_towards_the_deadline(downloader):
    source = downloader(lookup=lambda host: time.sleep(2) or ["127.0.0.1"], resolve_deadline=60.0, deadline=0.3)
    started = time.monotonic()
    assert reason_of(source, "http://slow.example/") == "name not resolved in time"
    assert time.monotonic() - started < 1.5


@pytest.mark.journey
def test_a_hundred_names_without_an_answer_hold_up_no_other_name(server, downloader):
    ended = threading.Event()

    def lookup(host):
        if host.startswith("slow"):
            ended.wait(30)
        return ["127.0.0.1"]

    source = downloader(lookup=lookup, resolve_deadline=0.01)
    for number in range(100):
        assert reason_of(source, f"http://slow-{number}.example/") == "name not resolved in time"
    source._resolver._deadline = 20.0
    assert source.get(server.url("/good/1", host="quick.example")) == jpeg("/good/1")
    ended.set()


@pytest.mark.journey
def test_an_address_that_never_answers_leaves_time_for_the_next(server, downloader):
    """A listener whose queue is full does not answer; the name's second address is the server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", server.port))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.2", server.port))
        source = downloader(
            lookup=lambda host: ["127.0.0.2", "127.0.0.1"], allow_private=("127.0.0.0/8",), deadline=6.0
        )
        assert source.get(server.url("/good/1", host="two.example")) == jpeg("/good/1")
        for each in waiting:
            each.close()


@pytest.mark.journey
def test_a_handshake_that_drips_ends_at_the_deadline(downloader):
    """A record of TLS that comes byte by byte, for each of which a limit a read would begin anew."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                for byte in b"\x16\x03\x03\x3f\xff" + bytes(10_000):
                    connection.sendall(bytes([byte]))
                    if ended.wait(0.05):
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        started = time.monotonic()
        url = f"https://good.example:{listener.getsockname()[1]}/"
        assert reason_of(downloader(lookup=lambda host: ["127.0.0.1"]), url) == "deadline"
        assert 0.9 < time.monotonic() - started < 10
        ended.set()
        thread.join()


@pytest.mark.journey
def test_a_name_server_that_stalls_holds_up_its_name_alone(server, downloader):
    def lookup(host):
        if host == "slow.example":
            time.sleep(3)
        return ["127.0.0.1"]

    source = downloader(lookup=lookup, resolve_deadline=0.2)
    assert reason_of(source, "http://slow.example/") == "name not resolved in time"
    assert source.get(server.url("/good/1", host="quick.example")) == jpeg("/good/1")


def test_a_server_without_tls_gives_nothing_over_https(server, downloader):
    assert reason_of(downloader(), f"https://127.0.0.1:{server.port}/good/1") in (
        "TLS failed",
        "deadline",
        "connection failed",
    )


@pytest.mark.parametrize(
    ("url", "host_header", "path"),
    [
        ("http://a.example/x y".replace(" ", "%20"), "a.example", "/x%20y"),
        ("https://a.example:443/?q=ü", "a.example", "/?q=%C3%BC"),
        ("http://a.example:8080/é.jpg#part", "a.example:8080", "/%C3%A9.jpg"),
        ("http://bücher.example", "xn--bcher-kva.example", "/"),
    ],
)
def test_urls_become_a_host_and_a_path_in_ascii(url, host_header, path):
    target = parse_url(url)
    assert (target.host_header, target.path) == (host_header, path)


def test_hosts_take_turns_and_none_has_more_than_its_share():
    wanted = [(n, f"http://{'a' if n < 6 else 'b'}/{n}") for n in range(8)]
    schedule = Schedule(wanted, FetchSettings())
    first = [schedule.take() for _ in range(4)]
    assert Counter(task.host for task in first) == {"a": 2, "b": 2}
    for task in first:
        schedule.done(task)
    assert schedule.take().host == "a"


def test_a_host_that_is_busy_is_left_alone_as_a_whole_and_others_go_on():
    wanted = [(n, f"http://{host}/{n}") for n, host in enumerate("aaabbb")]
    schedule = Schedule(wanted, FetchSettings(per_host=1))
    task = schedule.take()
    assert task.host == "a"
    schedule.again(task, FetchError("HTTP 429", may_retry=True, wait=1.0))
    started = time.monotonic()
    for _ in range(3):
        task = schedule.take()
        assert task.host == "b"
        schedule.done(task)
    assert schedule.take().host == "a" and time.monotonic() - started > 0.5


def test_hosts_that_answer_come_before_unknown_ones_and_those_that_failed_come_last():
    wanted = [(n, f"http://{host}/{n}") for n, host in enumerate("aaabbbccc")]
    schedule = Schedule(wanted, FetchSettings(per_host=1))
    a, b = schedule.take(), schedule.take()
    schedule.done(a, "deadline")
    schedule.done(b)
    order = []
    while (task := schedule.take()) is not None:
        order.append(task.host)
        schedule.done(task, "deadline" if task.host == "a" else None)
    assert "".join(order) == "bbcccaa"


def test_a_host_that_always_fails_is_given_up_and_its_urls_are_counted(monkeypatch):
    monkeypatch.setattr(schedule_file, "GIVE_UP", 3)
    asked = []

    def get(url, _):
        asked.append(url)
        if "/dead." in url:
            raise FetchError("connection failed")
        raise FetchError("HTTP 404")

    wanted = [(n, f"http://{'dead' if n % 2 else 'alive'}.example/{n}") for n in range(40)]
    results = list(fetch_all(wanted, FetchSettings(workers=1, retries=0), get, as_sent))
    assert Counter(each.reason for each in results) == {"HTTP 404": 20, "connection failed": 3, "host given up": 17}
    assert len(asked) == 23 and {each.attempts for each in results if each.reason == "host given up"} == {0}


def test_a_host_without_a_connection_is_put_aside_behind_all_others_and_soon_given_up():
    wanted = [(n, f"http://{host}/{n}") for n, host in enumerate("aaaabbbc")]
    schedule = Schedule(wanted, FetchSettings(per_host=1))
    order = ""
    for _ in wanted:
        task = schedule.take()
        order += task.host.upper() if schedule.is_given_up(task) else task.host
        schedule.done(task, {"a": "no connection in time", "b": "deadline", "c": None}[task.host])
    assert order == "abcabbaA", "after two tries last, and after three not at all"


def test_a_host_that_redirects_to_dead_ones_was_reached_and_is_not_soon_given_up(server, downloader):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/"
    urls = [server.url(f"/to?{dead}{n}") for n in range(4)] + [server.url(f"/good/{n}") for n in range(4)]
    settings = FetchSettings(workers=1, per_host=1, retries=0)
    results = fetch_all(list(enumerate(urls)), settings, downloader().ask, as_sent)
    assert Counter(each.reason for each in results) == {"connection failed": 4, None: 4}


def test_a_host_that_answered_before_is_given_more_tries_without_a_connection():
    """As of a network that is gone for some seconds."""
    schedule = Schedule([(n, f"http://a/{n}") for n in range(12)], FetchSettings(per_host=1))
    schedule.done(schedule.take(), "HTTP 404")
    for _ in range(schedule_file.GIVE_UP):
        task = schedule.take()
        assert not schedule.is_given_up(task)
        schedule.done(task, "no connection in time")
    assert schedule.is_given_up(schedule.take())


def test_hosts_that_say_nothing_take_no_place_of_others(monkeypatch):
    """Beside two workers eight URLs may wait, for a connection or long for an answer."""
    monkeypatch.setattr(schedule_file, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(fetch_file, "LOOK_SECONDS", 0.01)
    ended, lock = threading.Event(), threading.Lock()
    active = most = 0

    def get(url, progress):
        nonlocal active, most
        progress.is_connected = "dead" not in url
        if "good" not in url:
            assert ended.wait(10)
            raise FetchError("deadline")
        progress.is_answered = True
        with lock:
            active += 1
            most = max(most, active)
        time.sleep(0.02)
        with lock:
            active -= 1
        body = Body("identity", 1 << 20)
        body.file.write(GOOD)
        return body

    wanted = [(n, f"http://{('dead', 'silent')[n % 2]}-{n}.example/") for n in range(8)]
    wanted += [(n, f"http://good-{n}.example/") for n in range(8, 40)]
    results = fetch_all(wanted, FetchSettings(workers=2, retries=0), get, as_sent)
    assert {next(results).reason for _ in range(32)} == {None}
    ended.set()
    assert [each.reason for each in results] == ["deadline"] * 8
    assert most == 2, "and no more bodies come at once than there are workers"


def test_workers_are_added_for_urls_that_wait_and_leave_when_those_are_done():
    schedule = Schedule([(n, f"http://{n}.example/") for n in range(12)], FetchSettings(workers=2, per_host=1))
    assert schedule.missing_workers() == 2
    dead, silent = schedule.take(), schedule.take()
    silent.progress.is_connected = True
    assert schedule.missing_workers() == 1, "for the one without a connection"
    silent.progress.since -= 2
    assert schedule.missing_workers() == 1, "and for the one without an answer for a second"
    silent.progress.is_answered = True
    schedule.done(dead)
    assert schedule.missing_workers() == 0
    assert [schedule.take(), schedule.take()] == [None, None], "the threads that came for them"
    assert schedule.take() is not None


def test_a_server_that_takes_no_connection_is_left_soon(downloader, monkeypatch):
    """A listener whose queue is full does not answer: the deadline of 20 s is not waited for."""
    monkeypatch.setattr(download_file, "CONNECT_SECONDS", 0.1)
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with pytest.raises(FetchError) as caught:
            downloader(deadline=20.0).get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert caught.value.reason == "no connection in time" and caught.value.may_retry


def test_a_network_that_is_lost_in_the_middle_ends_the_command(monkeypatch):
    """Hosts that answered before and then do not any more: nothing of the part is counted as done."""
    monkeypatch.setattr(fetch_file, "LOST_URLS", 5)
    asked = []

    def get(url, _):
        asked.append(url)
        raise FetchError("HTTP 404" if len(asked) <= 10 else "connection failed")

    wanted = [(n, f"http://{n % 5}.example/{n}") for n in range(40)]
    found = fetch_all(wanted, FetchSettings(workers=1, retries=0), get, as_sent)
    with pytest.raises(seesay.SeesayError, match="the last 5 URLs of hosts that answered before cannot be reached"):
        list(watched(found))


def test_a_busy_server_is_asked_again(server):
    settings = FetchSettings(**LOCAL, retries=1)
    source = Downloader(settings=settings)
    (result,) = fetch_all([(0, server.url("/again/once"))], settings, source.ask, as_sent)
    assert (result.attempts, result.image) == (2, GOOD)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("7", 7, 7), (" 120 ", 120, 120), ("soon", None, None), ("-1", None, None), ("1e9", None, None), ("", None, None),
     ("Fri, 31 Dec 2100 23:59:59 GMT", 1e9, 4e9), ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0), ("１２", None, None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text, least, most):
    seconds = seconds_of(text)
    assert seconds is None if least is None else least <= seconds <= most


def test_a_wait_of_thirty_years_is_a_minute_at_most(server, downloader):
    with pytest.raises(FetchError) as caught:
        downloader().get(server.url("/later"))
    assert caught.value.wait == 60.0 and caught.value.may_retry


def table_of(folder):
    return parquet.read_table(folder / "pairs.parquet").to_pylist()


def write_pool(path, urls):
    parquet.write_table(pa.table({"url": urls, "caption": [f"image {n}" for n in range(len(urls))]}), path)
    return path


@pytest.mark.journey
def test_a_pool_with_as_many_bad_urls_as_good_ones_is_fetched(tmp_path, server, monkeypatch):
    good = [server.url(f"/good/{n}") for n in range(40)]
    bad = [
        server.url(path)
        for path in ("/missing", "/html", "/cut", "/bomb", "/loop", "/noai", "/short", "/drip-body", "/stall")
    ]
    bad += ["file:///etc/passwd", "http://192.168.0.1/x", "http://127.0.0.1:1/closed"]
    table = write_pool(tmp_path / "pool.parquet", good + bad)
    most, active, honest = 0, 0, Downloader.ask

    def counted(self, url, progress):
        nonlocal most, active
        with lock:
            active += "127.0.0.1" in url
            most = max(most, active)
        try:
            return honest(self, url, progress)
        finally:
            with lock:
                active -= "127.0.0.1" in url

    lock = threading.Lock()
    monkeypatch.setattr(Downloader, "ask", counted)
    result = seesay.curate(
        table, out=tmp_path / "set", stages=["fetch", "shards"], allow_private="127.0.0.1", image_size=32,
        overrides=["fetch.deadline=8.0", "fetch.retries=0", "fetch.workers=8"],
    )  # fmt: skip
    assert dict(result.counts[1].left_out) == {
        "HTTP 404": 1, "not an image": 1, "truncated image": 1, "too many bytes": 1, "too many redirects": 1,
        "forbidden by X-Robots-Tag": 1, "not proper HTTP": 1, "deadline": 1, "too slow": 1, "scheme not allowed": 1,
        "blocked address": 1, "connection failed": 1,
    }  # fmt: skip
    rows = table_of(tmp_path / "set")
    assert {row["url"] for row in rows} == set(good) and {row["attempts"] for row in rows} == {1}
    assert most == 2, "as many of one host at once as the settings say"
    with open(tmp_path / "set" / "shards" / rows[0]["shard"], "rb") as shard:
        shard.seek(rows[0]["image_offset"])
        image = Image.open(io.BytesIO(shard.read(rows[0]["image_size"])))
    assert min(image.size) == 32
    counts = json.loads((tmp_path / "set" / "counts.json").read_text())
    assert counts["hosts"] == {"127.0.0.1": 40}


@pytest.mark.journey
def test_a_fetch_that_was_stopped_asks_for_what_is_missing_alone(tmp_path, server, monkeypatch):
    urls = [server.url(f"/good/resumed-{n}") for n in range(12)]
    table = write_pool(tmp_path / "pool.parquet", urls)
    named = {"out": tmp_path / "set", "stages": ["fetch"], "allow_private": "127.0.0.1", "overrides": ["rows=4"]}
    honest, parts = fetch_file.publish_chunks, []

    def stopped(path, chunks):
        parts.append(path)
        if len(parts) == 3:
            raise KeyboardInterrupt
        honest(path, chunks)

    monkeypatch.setattr(fetch_file, "publish_chunks", stopped)
    with pytest.raises(KeyboardInterrupt):
        seesay.curate(table, **named)
    monkeypatch.setattr(fetch_file, "publish_chunks", honest)
    assert len(seesay.curate(table, **named)) == 12
    asked = Counter(path for path in server.asked if "resumed" in path)
    assert set(asked.values()) == {1} and len(asked) == 12


@pytest.fixture
def web(monkeypatch):
    """URLs whose path is in `down` cannot be reached; those in `asked` were asked for."""
    state = SimpleNamespace(down=set(), asked=[])

    def ask(source, url, _):
        path = parse_url(url).path
        state.asked.append(path)
        if path in state.down:
            raise FetchError(state.down_reason)
        if "gone" in path:
            raise FetchError("HTTP 404")
        body = Body("identity", 1 << 20)
        body.file.write(jpeg(path))
        return body

    state.down_reason = "connection failed"
    monkeypatch.setattr(Downloader, "ask", ask)
    return state


@pytest.mark.journey
def test_urls_that_failed_are_tried_again_on_request_to_the_set_of_a_run_in_which_they_came(tmp_path, web, monkeypatch):
    paths = [f"/{'gone' if n in (3, 8) else n}-{n}" for n in range(12)]
    table = write_pool(tmp_path / "pool.parquet", [f"http://a.example{path}" for path in paths])
    sets = ["rows=4", "fetch.retries=0", "shards.pairs=5"]
    named = {"stages": ["fetch", "dedup", "shards"], "image_size": 32, "overrides": sets}
    seesay.curate(table, out=tmp_path / "whole", **named)
    web.down = {paths[n] for n in (0, 2, 5, 9)}
    named["out"] = tmp_path / "set"
    assert seesay.curate(table, **named).counts[1].left_out == {"connection failed": 4, "HTTP 404": 2}
    web.asked.clear()
    again = {**named, "retry_failed": True}
    assert len(seesay.curate(table, **again)) == 6 and set(web.asked) == web.down, "they are still down"
    web.down = {paths[9]}
    honest = fetch_file.publish_chunks
    monkeypatch.setattr(fetch_file, "publish_chunks", stopping_at(2, honest))
    with pytest.raises(KeyboardInterrupt):
        seesay.curate(table, **again)
    monkeypatch.setattr(fetch_file, "publish_chunks", honest)
    assert len(seesay.curate(table, **named)) == 8, "what came before the stop is there"
    web.down.clear()
    web.asked.clear()
    seesay.curate(table, **again)
    assert web.asked == [paths[5], paths[9]]
    assert set_of(tmp_path / "set") == set_of(tmp_path / "whole")


def stopping_at(number, honest):
    """`honest`, but for a stop at that call."""
    calls = []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        honest(*arguments)

    return stopped


def set_of(folder):
    """The files of a set, with its card and counts."""
    files = [path for path in folder.rglob("*") if path.is_file() and "stages" not in path.parts]
    wanted = [path for path in files if path.name not in ("events.jsonl", ".lock", "begun.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in wanted}


@pytest.mark.journey
def test_another_pace_keeps_what_was_fetched_and_another_size_says_that_it_does_not(tmp_path, web, capsys):
    table = write_pool(tmp_path / "pool.parquet", ["http://a.example/1", "http://a.example/2"])
    named = {"out": tmp_path / "set", "stages": ["fetch"]}
    seesay.curate(table, **named)
    seesay.curate(table, overrides=["fetch.workers=3", "fetch.deadline=60.0"], **named)
    assert len(web.asked) == 2 and "begun anew" not in capsys.readouterr().err
    seesay.curate(table, image_size=16, **named)
    assert len(web.asked) == 4 and "1-fetch is begun anew" in capsys.readouterr().err


@pytest.mark.journey
def test_a_folder_that_was_moved_after_fetching_goes_on_with_its_images(tmp_path, web, capsys):
    table = write_pool(tmp_path / "pool.parquet", [f"http://a.example/{n}" for n in range(5)])
    seesay.curate(table, out=tmp_path / "set", stages=["fetch"], overrides=["rows=2"])
    (tmp_path / "set").rename(tmp_path / "moved")
    named = {"stages": ["fetch", "dedup", "shards"], "overrides": ["rows=2"]}
    assert len(seesay.curate(table, out=tmp_path / "moved", **named)) == 5 and len(web.asked) == 5
    (tmp_path / "moved").rename(tmp_path / "again")
    named["overrides"] = ["rows=2", "shards.pairs=2"]
    assert len(seesay.curate(table, out=tmp_path / "again", **named)) == 5 and len(web.asked) == 5


@pytest.mark.journey
def test_a_filter_may_stand_before_fetching_and_says_what_it_did_not_see(tmp_path, web, capsys):
    (tmp_path / "here.jpg").write_bytes(jpeg("here", (30, 20)))
    urls = [*(f"http://a.example/{n}" for n in range(3)), None]
    columns = {"url": urls, "path": [None] * 3 + ["here.jpg"], "caption": [f"image {n}" for n in range(4)]}
    parquet.write_table(pa.table(columns), table := tmp_path / "pool.parquet")
    sets = ["filter.language=", "filter.least_words=1", "filter.least_characters=1", "filter.least_side=1"]
    seesay.curate(table, out=tmp_path / "set", stages=["filter", "fetch", "dedup", "shards"], overrides=sets)
    assert sorted((row["width"], row["attempts"]) for row in table_of(tmp_path / "set")) == [(30, 0)] + [(64, 1)] * 3
    assert "filter: 3 pairs have no image yet" in capsys.readouterr().err
    assert "3 pairs passed the filter before their image was there" in (tmp_path / "set" / "card.md").read_text()
    assert json.loads((tmp_path / "set" / "counts.json").read_text())["stages"][1]["without_image"] == 3


def test_an_image_is_blocked_by_the_bytes_that_were_sent_although_it_is_shrunk(tmp_path, web):
    table = write_pool(tmp_path / "pool.parquet", ["http://a.example/1", "http://a.example/2"])
    (tmp_path / "list.txt").write_text(hashlib.sha256(jpeg("/1")).hexdigest())
    sets = [f"filter.blocked_hashes={tmp_path}/list.txt", "filter.language=", "filter.least_side=1"]
    sets += ["filter.least_words=1", "filter.least_characters=1"]
    named = {"stages": ["fetch", "filter"], "image_size": 16, "overrides": sets}
    assert seesay.curate(table, out=tmp_path / "set", **named).counts[2].left_out == {"blocked image": 1}


def test_what_is_tried_again_are_failures_of_the_network_and_of_servers(tmp_path, url_table):
    passing = ["deadline", "HTTP 503", "HTTP 500", "host given up", "name not found", "too slow", "TLS failed"]
    lasting = [None, "HTTP 404", "HTTP 410", "blocked address", "not an image", "forbidden by X-Robots-Tag", "bad URL"]
    assert all(map(may_pass, passing)) and not any(map(may_pass, lasting))
    with pytest.raises(seesay.UsageError, match=r"retry.failed is for the stage fetch"):
        seesay.curate(url_table(["a"]), out=tmp_path / "set", stages=["shards"], retry_failed=True)


def test_what_was_fetched_is_known_by_its_hash_and_decoded_again_where_it_changed(tmp_path, web, monkeypatch):
    table = write_pool(tmp_path / "pool.parquet", [f"http://a.example/{n}" for n in range(3)])
    looked, honest = [], shards_file.rewritten
    monkeypatch.setattr(shards_file, "rewritten", lambda *given: looked.append(given) or honest(*given))
    named = {"out": tmp_path / "set", "stages": ["fetch", "shards"], "image_size": 32}
    assert len(seesay.curate(table, **named)) == 3 and not looked
    (images,) = (tmp_path / "set" / "stages").rglob("*.images")
    images.write_bytes(bytes(60) + images.read_bytes()[60:])
    shutil.rmtree(tmp_path / "set" / "shards")
    result = seesay.curate(table, **named)
    assert len(result) == 2 and result.counts[-1].left_out.total() == 1 and len(looked) == 1


def test_a_url_that_comes_again_is_asked_once(tmp_path, server):
    urls = [
        server.url("/good/twice"),
        server.url("/good/twice"),
        server.url("/missing?twice"),
        server.url("/missing?twice"),
    ]
    table = write_pool(tmp_path / "pool.parquet", urls)
    result = seesay.curate(table, out=tmp_path / "set", stages=["fetch", "shards"], allow_private="127.0.0.1")
    assert len(result) == 2 and result.counts[1].left_out == {"HTTP 404": 2}
    assert Counter(path for path in server.asked if "twice" in path) == {"/good/twice": 1, "/missing?twice": 1}
    assert len({row["image_sha256"] for row in table_of(tmp_path / "set")}) == 1


@pytest.mark.journey
@pytest.mark.skipif(shutil.which("openssl") is None, reason="not measured: no openssl to make a certificate with")
def test_a_certificate_that_nobody_signed_is_refused(tmp_path, server, downloader):
    """And the one that is trusted is taken for its own name alone, although the address is checked before."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=good.example", "-addext", "subjectAltName=DNS:good.example"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hostile_server() as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        source = downloader(lookup=lambda host: ["127.0.0.1"], deadline=20.0)
        url = secure.url("/good/1", host="good.example").replace("http:", "https:")
        assert reason_of(source, url) == "bad certificate"
        source.context = ssl.create_default_context(cafile=str(certificate))
        assert source.get(url) == jpeg("/good/1")
        assert reason_of(source, url.replace("good.example", "other.example")) == "bad certificate"


def test_a_network_that_is_gone_ends_the_command_and_counts_nothing_as_done(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_file, "LOST_URLS", 12)
    urls = [f"http://host-{n}.invalid/a.jpg" for n in range(12)]
    table = write_pool(tmp_path / "pool.parquet", urls)
    with pytest.raises(seesay.SeesayError, match="not one of 12 URLs at 12 hosts can be reached"):
        seesay.curate(table, out=tmp_path / "set", stages=["fetch"], overrides=["fetch.retries=0"])
    assert not list((tmp_path / "set" / "stages" / "1-fetch").glob("*.parquet"))


def test_what_may_be_private_is_a_network(tmp_path, url_table):
    with pytest.raises(seesay.UsageError, match=r"127\.0\.0\.1 or 10\.1\.0\.0/16"):
        seesay.curate(url_table(["a"]), out=tmp_path / "set", stages=["fetch"], allow_private="localhost")
