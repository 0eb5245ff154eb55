"""Which addresses a row may lead to, judged when it is saved."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from mlops.egress import allow_private_hosts, is_disguised_address, may_connect
from mlops.errors import DomainError
from mlops.models import LanguageModel, User
from mlops.services.language_models import create_language_model, update_language_model
from mlops.types import LanguageModelKind
from tests.factories import make_language_model


@pytest.fixture(autouse=True)
def _nothing_allowed() -> Iterator[None]:
    allow_private_hosts([])
    yield
    allow_private_hosts(settings.SIGNET_ALLOWED_PRIVATE_HOSTS)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What names resolve to; others and addresses are asked of the machine."""
    names: dict[str, str] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **hints: Any) -> Any:
        return real(names.get(host, host), *rest, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::127.0.0.1"),
    *("fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1"),
    *("2002:7f00:1::", "3fff::1", "100::1", "64:ff9b:1::1"),
]
PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "172.32.0.1", "172.15.255.255", "192.167.255.255", "100.63.255.255", "100.128.0.1"),
    *("2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_not_called(address: str) -> None:
    assert not may_connect("provider.example", 443, address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called_at_the_ports_of_the_web(address: str) -> None:
    ports = (80, 443, 1024, 8000, 65535, 0, 22, 25, 53, 389, 1023, 65536)
    assert [may_connect("provider.example", port, address) for port in ports] == [True] * 5 + [False] * 7


def test_what_is_no_address_is_not_called() -> None:
    assert not any(may_connect("h", 443, address) for address in ("", "localhost", "0x7f000001", "127.1"))


@pytest.mark.parametrize(
    ("allowed", "host", "address", "is_called"),
    [
        ("10.0.0.0/8", "x", "10.1.2.3", True),
        ("10.0.0.0/8", "x", "11.1.2.3", True),  # public
        ("10.0.0.0/8", "x", "192.168.1.1", False),
        ("10.0.0.0/8", "x", "::ffff:10.1.2.3", True),
        ("10.1.2.3", "x", "10.1.2.4", False),
        ("::1", "x", "::1", True),
        ("fd00::/8", "x", "fd00::7", True),
        ("Ollama", "ollama.", "10.1.2.3", True),
        ("ollama", "ollama.evil.example", "10.1.2.3", False),
        ("ollama", "10.1.2.3", "10.1.2.3", False),
    ],
)
def test_the_setting_allows_names_and_networks(allowed: str, host: str, address: str, is_called: bool) -> None:
    allow_private_hosts([allowed])
    assert may_connect(host, 443, address) is is_called


def test_an_allowed_host_is_called_at_any_port() -> None:
    allow_private_hosts(["10.0.0.0/8"])
    assert may_connect("x", 81, "10.0.0.1")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.01"])
def test_an_address_in_an_odd_spelling_is_told_from_a_name(host: str) -> None:
    assert is_disguised_address(host)
    assert not any(map(is_disguised_address, ("127.0.0.1", "::1", "host", "1.example", "cafe")))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://127.0.0.1:11434", "api_base_private"),
        ("http://localhost/v1", "api_base_private"),
        ("http://[::1]:8000/", "api_base_private"),
        ("http://[::ffff:169.254.169.254]/latest/meta-data", "api_base_private"),
        ("http://[fe80::1]/", "api_base_private"),
        ("http://[fe80::1%25eth0]/", "api_base_private"),
        ("https://provider.internal/v1", "api_base_private"),
        ("https://8.8.8.8:25/v1", "api_base_port"),
        ("http://2130706433/", "api_base_invalid"),
        ("http://0x7f000001/", "api_base_invalid"),
        ("http://0177.0.0.1/", "api_base_invalid"),
        ("http://127.1/", "api_base_invalid"),
        ("http://\N{CIRCLED DIGIT ONE}27.0.0.1/", "api_base_invalid"),
        ("http://\N{SMALL ROMAN NUMERAL FIFTY}ocalhost/", "api_base_invalid"),
        ("file:///etc/passwd", "api_base_invalid"),
        ("gopher://8.8.8.8/", "api_base_invalid"),
        ("http:///v1", "api_base_invalid"),
        ("http://8.8.8.8:0/", "api_base_invalid"),
        ("http://8.8.8.8:65536/", "api_base_invalid"),
        ("http://user:pass@8.8.8.8/", "api_base_has_credentials"),
        ("http://8.8.8.8@127.0.0.1/", "api_base_has_credentials"),
        ("http://127.0.0.1\\@8.8.8.8/", "api_base_has_credentials"),
    ],
)
@pytest.mark.django_db
def test_a_model_is_not_saved_with_such_an_address(
    admin: User, resolver: dict[str, str], address: str, code: str
) -> None:
    resolver["provider.internal"] = "10.0.0.7"
    with pytest.raises(DomainError) as made:
        create_language_model(actor=admin, name="openai/new", api_base=address)
    model = make_language_model(name="openai/old", api_base="https://8.8.8.8/v1")
    with pytest.raises(DomainError) as changed:
        update_language_model(actor=admin, model=model, fields={"api_base": address})
    for refused in (made, changed):
        assert (refused.value.code, refused.value.field) == (code, "api_base")
    assert LanguageModel.objects.get().api_base == "https://8.8.8.8/v1"
    assert LanguageModel.history.filter(api_base=address).count() == 0


@pytest.mark.django_db
def test_public_allowed_and_unknown_addresses_are_saved(admin: User, resolver: dict[str, str]) -> None:
    """A name that nobody resolves yet is judged when it is called."""
    allow_private_hosts(["ollama", "10.0.0.0/8"])
    resolver.update({"provider.example": "8.8.8.8", "ollama": "172.17.0.2", "inside.example": "10.0.0.7"})
    addresses = (
        "https://provider.example/v1",
        "http://ollama:11434",
        "http://inside.example:81/v1",
        "https://nowhere.invalid/v1",
    )
    for number, address in enumerate(addresses):
        model = create_language_model(actor=admin, name=f"openai/{number}", api_base=address)
        assert model.api_base == address


@pytest.mark.parametrize(
    "name",
    [
        "aiohttp_openai/m",
        "bedrock/m",
        "bedrock_mantle/m",
        "sagemaker/m",
        "vertex_ai/m",
        "nobody/m",
        "ai21/ft:davinci-002",
    ],
)
@pytest.mark.parametrize("kind", LanguageModelKind)
@pytest.mark.django_db
def test_a_model_of_another_provider_is_not_made(admin: User, name: str, kind: LanguageModelKind) -> None:
    with pytest.raises(DomainError) as refused:
        create_language_model(actor=admin, name=name, kind=kind, api_base="https://8.8.8.8/v1")
    assert (refused.value.code, refused.value.field) == ("language_model_provider_refused", "name")
    assert not LanguageModel.objects.exists()
    assert not LanguageModel.history.exists()


@pytest.mark.django_db
def test_a_model_from_before_its_provider_was_refused_can_be_disabled(admin: User) -> None:
    model = make_language_model(name="bedrock/old")
    assert not update_language_model(actor=admin, model=model, fields={"is_enabled": False}).is_enabled
