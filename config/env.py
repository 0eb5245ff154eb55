"""Every variable of the environment that this system reads, with its type, default and meaning.

`.env.example` lists them all (a test compares). A wrong value stops the start with the name of the variable and the
form that is expected.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote, urlsplit
from zoneinfo import available_timezones

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split)]


HOST = re.compile(r"\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]")
"""What Django compares the Host header with, its forms `*` and `.example.org` included."""


NAME = re.compile(r"(?![0-9./]+$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""A host name, which is not made of digits alone."""

SENDER = re.compile(r"[^<>@\s]+@[^<>@\s]+|[^<>@\r\n]+ <[^<>@\s]+@[^<>@\s]+>")
"""A mail address, alone or behind a name."""

LOOPBACK = ["127.0.0.0/8", "::1"]


class BrokenEnvironment(SystemExit):
    """The environment does not describe a system that can start."""


class MailServer(NamedTuple):
    """`is_tls`: encrypted from the beginning, `starts_tls`: by STARTTLS. The host is empty where there is none."""

    host: str
    port: int
    user: str
    password: str
    is_tls: bool
    starts_tls: bool


class Environment(BaseSettings):
    """The environment and the file `.env`, read once."""

    model_config = SettingsConfigDict(env_file=BASE_DIR / ".env", extra="ignore", case_sensitive=False)

    signet_data_dir: Path = Field(
        BASE_DIR / "var", validate_default=True, description="a folder that can be made and written"
    )
    signet_secret_key: str = Field("", description="Django's secret key; made and kept in the data folder if empty")
    signet_encryption_keys: CommaSeparated = Field(
        default_factory=list, description="passphrases for secrets at rest, newest first; the secret key if empty"
    )
    signet_debug: bool = Field(False, description="true or false: error pages with details")
    signet_allowed_hosts: CommaSeparated = Field(
        default_factory=lambda: ["localhost", "127.0.0.1", "[::1]", "testserver"],
        description="host names without scheme, port and path, comma separated",
    )
    signet_trusted_origins: CommaSeparated = Field(
        default_factory=list, description="origins such as https://signet.example.org, comma separated"
    )
    signet_trusted_proxies: CommaSeparated = Field(
        default_factory=list, description="IP addresses or networks such as 10.0.0.0/8, comma separated"
    )
    signet_login_attempts: int = Field(5, ge=1, le=1000, description="a whole number, 1 to 1000")
    signet_time_zone: str = Field("UTC", description="name of a time zone such as Europe/Berlin")
    signet_language_model: str = Field("", description="provider/model that a fresh installation uses")
    signet_allowed_private_hosts: CommaSeparated | None = Field(
        None, description="host names, addresses or networks such as 10.0.0.0/8, comma separated"
    )
    signet_credits_per_usd: int = Field(1000, ge=1, le=10**9, description="a positive whole number")
    signet_concurrency: int = Field(256, ge=1, le=10_000, description="executions in flight per process, 1 to 10000")
    signet_lease_seconds: float = Field(30, ge=1, le=3600, description="seconds, 1 to 3600")
    signet_deadline_seconds: float = Field(300, ge=1, le=86400, description="seconds, 1 to 86400: one execution")
    signet_rate_limit: int = Field(
        0, ge=0, le=100_000, description="requests per minute and user, 1 to 100000; 0 for no limit"
    )
    signet_connections_per_user: int = Field(
        10, ge=1, le=10_000, description="WebSocket connections of a user per process, 1 to 10000"
    )
    signet_operations_per_connection: int = Field(
        20, ge=1, le=1_000, description="subscriptions at once per WebSocket connection, 1 to 1000"
    )
    signet_max_body_bytes: int = Field(1_000_000, ge=1000, le=100_000_000, description="bytes, 1000 to 100000000")
    signet_max_upload_bytes: int = Field(
        256 * 1024 * 1024, ge=1000, le=10**11, description="bytes, 1000 to 100000000000: one file to import"
    )
    signet_modules: CommaSeparated = Field(
        default_factory=list, description="name=package.module:Class of custom modules, comma separated"
    )
    signet_tools: CommaSeparated = Field(
        default_factory=list, description="name=package.module:function of extra tools, comma separated"
    )
    signet_metrics: CommaSeparated = Field(
        default_factory=list, description="name=package.module:function of metrics in code, comma separated"
    )
    signet_log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    database_url: str = Field(
        "", description="postgres://user:password@host:5432/name; empty: SQLite in the data folder"
    )
    redis_url: str = Field("", description="redis://host:6379/0; empty: broker and worker inside the web process")

    signet_smtp_url: str = Field(
        "", description="smtp://user:password@host:587 or smtps://...; empty: mails are written to the log"
    )
    signet_mail_from: str = Field(
        "Signet <signet@localhost>", description="an address such as Signet <signet@example.org>"
    )

    @field_validator("signet_data_dir")
    @classmethod
    def _writable_folder(cls, value: Path) -> Path:
        value.mkdir(parents=True, exist_ok=True)
        if not os.access(value, os.W_OK | os.X_OK):
            raise ValueError("not writable")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not (_is_address(value, ("postgres", "postgresql")) and urlsplit(value).path.strip("/")):
            raise ValueError("not a PostgreSQL URL")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if value and not _is_address(value, ("redis", "rediss")):
            raise ValueError("not a Redis URL")
        return value

    @field_validator("signet_smtp_url")
    @classmethod
    def _known_mail_server(cls, value: str) -> str:
        if value and not (_is_address(value, ("smtp", "smtps")) and urlsplit(value).path in ("", "/")):
            raise ValueError("not a mail server")
        return value

    @field_validator("signet_mail_from")
    @classmethod
    def _known_sender(cls, value: str) -> str:
        if not SENDER.fullmatch(value):
            raise ValueError("not a mail address")
        return value

    @field_validator("signet_allowed_hosts")
    @classmethod
    def _known_hosts(cls, value: list[str]) -> list[str]:
        if not all(HOST.fullmatch(host) for host in value):
            raise ValueError("not a host name")
        return value

    @field_validator("signet_allowed_private_hosts")
    @classmethod
    def _known_private_hosts(cls, value: list[str] | None) -> list[str] | None:
        if not all(_is_network(item) or NAME.fullmatch(item) for item in value or []):
            raise ValueError("neither a host name nor a network")
        return value

    @field_validator("signet_trusted_origins")
    @classmethod
    def _known_origins(cls, value: list[str]) -> list[str]:
        if not all(_is_address(origin, ("http", "https")) for origin in value):
            raise ValueError("not an origin")
        return value

    @field_validator("signet_trusted_proxies")
    @classmethod
    def _known_networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ip_network(network)
        return value

    @field_validator("signet_time_zone")
    @classmethod
    def _known_time_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not a time zone")
        return value

    @field_validator("signet_language_model")
    @classmethod
    def _known_form_of_model(cls, value: str) -> str:
        provider, _, model = value.partition("/")
        if value and not (provider and model):
            raise ValueError("not provider/model")
        return value

    @field_validator("signet_log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("not a level")
        return value.upper()

    @field_validator("signet_modules", "signet_tools", "signet_metrics")
    @classmethod
    def _registrations(cls, value: list[str]) -> list[str]:
        for item in value:
            name, _, target = item.partition("=")
            if not name.isidentifier() or target.count(":") != 1:
                raise ValueError(f"{item!r} is not name=package.module:attribute")
        return value

    @property
    def is_embedded(self) -> bool:
        """Whether broker, worker and beat run inside the web process."""
        return not self.redis_url

    @property
    def allowed_private_hosts(self) -> list[str]:
        """What may be called besides public addresses; where nothing is said, this machine if it is somebody's own."""
        if self.signet_allowed_private_hosts is not None:
            return self.signet_allowed_private_hosts
        return LOOPBACK if self.is_embedded else []

    @property
    def mail_server(self) -> MailServer:
        """Where mails are handed in. Whoever gives a password has it encrypted on its way."""
        server = urlsplit(self.signet_smtp_url)
        user, is_tls = unquote(server.username or ""), server.scheme == "smtps"
        port = server.port or (465 if is_tls else 587 if user else 25)
        starts_tls = not is_tls and (bool(user) or port == 587)
        return MailServer(server.hostname or "", port, user, unquote(server.password or ""), is_tls, starts_tls)

    @property
    def is_served_by_https(self) -> bool:
        """Whether people reach this installation by HTTPS only: every origin that they are told of says so."""
        origins = self.signet_trusted_origins
        return bool(origins) and all(origin.startswith("https://") for origin in origins)


def _is_network(value: str) -> bool:
    try:
        ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _is_address(value: str, schemes: tuple[str, ...]) -> bool:
    """Whether `value` is a URL with one of the schemes, a host and, if any, a number as its port."""
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def read_environment() -> Environment:
    """The environment. Raises `BrokenEnvironment`, a `SystemExit` that names each wrong variable, without its value."""
    try:
        return Environment()
    except ValidationError as error:
        raise BrokenEnvironment("\n".join(_complaint(str(item["loc"][0])) for item in error.errors())) from None
    except OSError:
        raise BrokenEnvironment(_complaint("signet_data_dir")) from None


def _complaint(name: str) -> str:
    return f"{name.upper()}: expected {Environment.model_fields[name].description}"
