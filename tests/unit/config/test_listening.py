"""Where this machine reaches a service, by what the ini says of its address."""

import pytest

from data_mover.config.listening import local_address


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ({"listen": "127.0.0.1:6543"}, (None, "http://127.0.0.1:6543")),
        ({"listen": "mover.example.org:80 127.0.0.1:6543"}, (None, "http://mover.example.org:80")),
        ({"listen": "0.0.0.0:6543"}, (None, "http://127.0.0.1:6543")),
        ({"listen": "*:6543"}, (None, "http://127.0.0.1:6543")),
        ({"listen": "[::]:6543"}, (None, "http://[::1]:6543")),
        ({"listen": "[2001:db8::7]:6543"}, (None, "http://[2001:db8::7]:6543")),
        ({"host": "127.0.0.2", "port": "80"}, (None, "http://127.0.0.2:80")),
        ({}, (None, "http://127.0.0.1:8080")),
        ({"unix_socket": "/run/web.sock", "listen": "*:80"}, ("/run/web.sock", "http://localhost")),
    ],
)
def test_the_address_for_programs_of_this_machine(server, address):
    assert local_address(server) == address
