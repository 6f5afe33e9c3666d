"""Settings of a DistRen process: a flag wins over DISTREN_* in the environment, over a TOML file, over the default.

The TOML file is `distren.toml` in the folder `platformdirs` names (on Linux ~/.config/distren), or the one that
DISTREN_CONFIG names. Nothing is read when this module is imported: `load` reads.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from distren.errors import SettingsError
from distren.limits import Limits


class PeerSettings(BaseModel):
    """A peer in the configuration file: `address` where we reach its broker, `secret` where it reaches ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    address: SecretStr | None = None
    secret: SecretStr | None = None


class Settings(BaseSettings):
    """All settings; each is a field here, a flag `--name`, DISTREN_NAME in the environment and `name` in the file."""

    model_config = SettingsConfigDict(
        env_prefix="DISTREN_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("distren")),
        description="folder of everything that DistRen keeps: private broker, database, blobs, cache",
    )
    server: str = Field(
        default_factory=lambda: _host_server_name(),
        description="name of the server; constant once the database exists",
    )
    broker: str | None = Field(
        default=None, description="amqp:// URL of the broker; default: the private broker in the data folder"
    )
    management: str | None = Field(
        default=None,
        description="http://user:password@host:port of the broker's management API; default: the private broker's, "
        "else port 15672 where the broker is, with the broker's user",
    )
    address: str | None = Field(
        default=None, description="amqp[s]://host:port under which other servers reach the broker; default: as we do"
    )
    peers: dict[str, PeerSettings] = Field(
        default_factory=dict, description="the servers that this one is associated with, for those who deploy by file"
    )
    lend: Literal["never", "always"] | float = Field(
        default="always",
        description="when frames are lent to peers: never, always, or when own workers have more minutes of work",
    )
    lend_to: dict[str, Literal["never", "always"] | float] = Field(
        default_factory=dict, description="the same for one peer, by its name"
    )
    borrow: int | None = Field(
        default=None, ge=0, description="frames of peers that are taken at a time; default: what slots are free for"
    )
    borrow_from: dict[str, int] = Field(default_factory=dict, description="the same for one peer, by its name")
    peer_jobs: int = Field(default=1_000, ge=0, description="jobs of one peer that may be open here at the same time")
    peer_upload: int = Field(
        default=10**12,
        ge=0,
        description="bytes that one peer may have on their way into the blob store",
    )
    needs_limit: float = Field(
        default=168.0,
        gt=0,
        description="hours that frames wait for frames of a peer that is down, or has none such, before they fail",
    )
    database: str | None = Field(
        default=None, description="SQLAlchemy URL of the database; default: SQLite in the data folder"
    )
    kills: int = Field(default=3, ge=1, le=100, description="workers that a frame may end before it fails")
    keep_unused: float = Field(
        default=24.0,
        ge=0.01,
        description="hours that the server keeps bytes which no job names, since they were last handed in",
    )
    povray: str = Field(default="povray", description="the POV-Ray program that workers run")
    scene_scripts: bool = Field(
        default=False, description="whether workers let scenes run scripts of their own, as a .blend can hold"
    )
    sandbox: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="whether workers render in a sandbox: where that is possible, always or else not at all, never",
    )
    silence_limit: float | None = Field(
        default=None, gt=0, description="seconds without a word after which workers end any render; jobs may say less"
    )
    memory_limit: ByteSize | None = Field(
        default=None, gt=0, description="memory that workers give any render; default: 95 % of the machine's"
    )
    output_limit: ByteSize | None = Field(
        default=None, gt=0, description="what workers let any render write to its folder; default: what the disk takes"
    )
    free_space: ByteSize = Field(
        default=ByteSize(10**9), description="what must be free on a worker's disk; with less it takes no frames"
    )
    sandbox_shared: tuple[Path, ...] = Field(
        default=(), description="folders, files and devices of this machine that renders may read in their sandbox"
    )
    programs: dict[str, str] = Field(
        default_factory=dict, description="the programs of renderers by the renderer's name, where PATH does not say"
    )

    commands: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="programs that jobs may name, in TOML only: docs/how-to/offer-a-command.md"
    )

    limits: Limits = Field(default=Limits(), description="what a server takes in")

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'server' / 'distren.db'}"

    @property
    def blobs(self) -> Path:
        """Where the server keeps stored bytes."""
        return self.data / "server" / "blobs"

    @property
    def cache(self) -> Path:
        """Where the workers of this host keep inputs; shared by all of them."""
        return self.data / "worker"

    @property
    def broker_folder(self) -> Path:
        """Where the private broker lives."""
        return self.data / "broker"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())


def config_file() -> Path:
    """The TOML file that is read when it exists."""
    named = os.environ.get("DISTREN_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("distren")) / "distren.toml"


def load(**flags: Any) -> Settings:
    """The settings of this process; a flag that is None was not given. Raises SettingsError."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting '{name}' can not be used: {first['msg'].lower()}") from error
    except ValueError as error:  # TOML that can not be parsed
        raise SettingsError(f"{config_file()} can not be read: {error}") from error


def _host_server_name() -> str:
    """The host's name made into a server name: any character that a server name may not hold becomes '-'."""
    host = "".join(
        char if char.isascii() and (char.isalnum() or char in ".-") else "-" for char in socket.gethostname()
    )
    name = host.lower()[:63].strip(".-")
    return name if any(char.isalpha() for char in name) else f"farm-{name}".rstrip("-")
