"""What of the web may be read."""

import pytest

from data_mover.backends.http.allowed_sites import Web, is_public, url_below
from data_mover.backends.http.options import HttpOptions
from data_mover.domain.urls import Url


def site(address="data.example.org", root="/", **more):
    return HttpOptions.model_validate({"protocol": "https", "address": address, "root": root, **more})


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"],
)
def test_an_address_of_the_public_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "168.63.129.16",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.192",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:168.63.129.16",
        "::ffff:192.0.0.192",
        "64:ff9b::168.63.129.16",
        "64:ff9b::192.0.0.192",
        "64:ff9b::192.88.99.1",
        "64:ff9b::224.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2002:a83f:8110::1",
        "2002:c000:c0::1",
        "2002:c058:6301::1",
        "2001:0:101:101::1",
        "2001:0:a83f:8110::1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff:ffff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "5f00::1",
    ],
)
def test_an_address_of_a_machine_a_network_or_nobody_is_not_public(address):
    assert not is_public(address)


def test_a_url_belongs_to_the_host_of_its_scheme_address_and_port_with_the_longest_root():
    web = Web({"all": site(), "maps": site(root="/maps"), "odd": site(port=8443), "six": site("::1")})

    def host_of(text):
        return web.host_of(Url.parse(text))

    assert host_of("https://data.example.org/a") == "all"
    assert host_of("https://DATA.example.org.:443/m%61ps/a?b") == "maps"
    assert host_of("https://data.example.org/mapsa") == "all"
    assert host_of("https://data.example.org:8443/a") == "odd"
    assert host_of("https://[::1]/a") == "six"
    assert host_of("http://data.example.org/a") is None
    assert host_of("https://data.example.org:8444/a") is None
    assert host_of("https://example.org/a") is None


def test_what_is_below_a_root_stands_for_itself():
    assert url_below(site(root="/open data"), "/é?#%41.csv").full == (
        "https://data.example.org/open%20data/%C3%A9%3F%23%2541.csv"
    )
