"""The one form of an address, and what counts as this machine."""

from __future__ import annotations

import pytest

from stigmer_config.settings.limits import Limits
from stigmer_config.settings.urls import Address, Url, is_loopback
from stigmer_config.settings.value_types import Float, Integer, InvalidValueError

LOOPBACK = (
    "http://localhost:11434",
    "https://LOCALHOST",
    "http://localhost.:1/v1",
    "http://ollama.localhost",
    "http://127.0.0.1:1",
    "http://127.255.1.9",
    "http://[::1]:11434",
    "http://[0:0:0:0:0:0:0:1]",
    "http://[::ffff:127.0.0.1]:1",
)
ELSEWHERE = (
    "http://127.0.0.999",
    "http://127.0.0.1.example.com",
    "http://127.example.com",
    "http://localhost.example.com",
    "http://notlocalhost",
    "http://128.0.0.1",
    "http://[::2]",
    "http://[::ffff:128.0.0.1]",
    "https://api.anthropic.com",
    "",
)


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback(url: str) -> None:
    """Every spelling of the loopback interface, and no other host, is this machine."""
    assert is_loopback(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_elsewhere(url: str) -> None:
    """A name that only looks like one of the loopback interface may lead anywhere."""
    assert not is_loopback(url)


NORMAL_FORMS = {
    "HTTP://127.0.0.1": "http://127.0.0.1",
    "HTTPS://API.Anthropic.com./V1": "https://api.anthropic.com/V1",
    "http://h:00080": "http://h:80",
    "https://h:443": "https://h:443",
    "http://[0:0:0:0:0:0:0:1]:11434": "http://[::1]:11434",
    "http://[::FFFF:102:304]/x": "http://[::ffff:1.2.3.4]/x",
    "http://[2001:DB8::A]/x": "http://[2001:db8::a]/x",
    "http://XN--Bcher-KVA.example": "http://xn--bcher-kva.example",
}
REFUSED = (
    "https://api.anthrop\u0131c.com",  # a dotless i, which folds to an i
    "http\u017f://api.anthropic.com",  # a long s
    "https://\u212aube.example",  # the Kelvin sign
    "https://b\u00fccher.example",
    "http://127.1",
    "http://2130706433",
    "http://0x7f.0.0.1",
    "http://127.0.0.01",
    "http://127.0.0.999",
    "http://a.b.1",
    "http://" + "a" * 64 + ".example",
    "http://" + "a.b" * 90,
    "http://h:\u0661\u0661",  # Arabic digits
)


@pytest.mark.parametrize(("written", "normal"), NORMAL_FORMS.items())
def test_an_address_has_one_form(written: str, normal: str) -> None:
    """What is checked, pinned, shown and called is that form."""
    assert Url().check(written, "base_url") == normal
    assert Url().check(normal, "base_url") == normal


@pytest.mark.parametrize("written", REFUSED)
def test_what_resolvers_and_clients_read_in_different_ways_is_refused(written: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Url().check(written, "base_url")
    assert caught.value.code == "invalid-url"


def test_a_name_that_is_not_ascii_is_shown_as_punycode() -> None:
    """Who sees it knows that it is another name than it looks like."""
    with pytest.raises(InvalidValueError) as caught:
        Url().check("https://api.anthrop\u0131c.com/v1", "base_url")
    assert "https://api.xn--anthropc-zkb.com/v1" in caught.value.hint


@pytest.mark.parametrize(
    ("written", "normal"),
    [("Corp.Example.:07233", "corp.example:7233"), ("[0:0:0:0:0:0:0:1]:1", "[::1]:1"), ("localhost:1", "localhost:1")],
)
def test_a_host_and_port_have_one_form_as_well(written: str, normal: str) -> None:
    assert Address().check(written, "temporal.address") == normal


@pytest.mark.parametrize("word", ["\u0131nf", "\u0131nfinity", "\u0661", "\uff11"])
def test_numbers_are_ascii(word: str) -> None:
    """A variable with the dotless i in `inf` ended in a traceback."""
    for kind in (Float(Limits(ge=0)), Integer(Limits(ge=0))):
        with pytest.raises(InvalidValueError) as caught:
            kind.parse(word, "timeout")
        assert caught.value.code == "wrong-type"
