from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from pod_runtime.config import ConfigError, effective, load, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    port: int = setting(8080, doc="where it listens", minimum=1, maximum=65535)
    tls: str = setting("off", doc="transport security", choices=("off", "required"))
    hosts: tuple[str, ...] = setting((), doc="names that it answers to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    account: str = setting(doc="the account to trade")
    ratio: float = setting(0.5, doc="a share")
    limit: Decimal = setting(Decimal(0), doc="an amount", maximum=10**12)
    directory: Path = setting(Path("/tmp"), doc="where files go")
    api: Api = setting(doc="the interface")


def read(text: str, tmp_path: Path, **environ: str) -> Config:
    file = tmp_path / "c.toml"
    file.write_text(text)
    return load(Config, path=file, environ=environ, prefix="BROKER")


def test_defaults_fill_what_the_file_leaves_open(tmp_path: Path) -> None:
    assert read('account = "1"', tmp_path).api == Api()


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    found = read('account = "1"\n[api]\nport = 1', tmp_path, BROKER__API__PORT="99", BROKER__API__HOSTS="a, b")
    assert (found.api.port, found.api.hosts) == (99, ("a", "b"))


@pytest.mark.parametrize("environ", [{}, {"BROKER__LIMIT": "123456789.012345678901"}])
def test_an_amount_is_what_is_written_to_the_last_digit(tmp_path: Path, environ: dict[str, str]) -> None:
    text = 'account = "1"' + ("" if environ else "\nlimit = 123456789.012345678901")
    assert read(text, tmp_path, **environ).limit == Decimal("123456789.012345678901")


@pytest.mark.parametrize("text", ["1e3", "1_000", "+1", " 1", "\uff11"])
def test_an_amount_of_the_environment_is_in_digits(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="limit: must be a number in digits"):
        read('account = "1"', tmp_path, BROKER__LIMIT=text)


@pytest.mark.parametrize("name", ["ratio", "limit"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_number_is_finite(tmp_path: Path, name: str, number: str) -> None:
    for text, environ in ((f"\n{name} = {number}", {}), ("", {f"BROKER__{name.upper()}": number})):
        with pytest.raises(ConfigError) as caught:
            read('account = "1"' + text, tmp_path, **environ)
        assert caught.value.faults == [f"{name}: must be a finite number"]


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read('ratio = "x"\n[api]\nprot = 1\nport = 70000\ntls = "maybe"', tmp_path)
    assert caught.value.faults == [
        "account: is required (the account to trade)",
        "ratio: must be a number, is a text of 1 characters",
        "api.prot: is not a setting; did you mean 'port'?",
        "api.port: must be at most 65535, is 70000",
        "api.tls: must be one of off, required",
    ]


def test_a_value_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read('account = "1"\nratio = "hunter2"', tmp_path)
    assert "hunter2" not in str(caught.value)


def test_effective_configuration_shows_every_default(tmp_path: Path) -> None:
    assert effective(read('account = "1"', tmp_path))["api"] == {"port": 8080, "tls": "off", "hosts": []}


def test_what_lies_beneath_fills_what_is_open_and_only_that(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('account = "1"\n[api]\nport = 1')
    beneath = {"api": {"port": 2, "tls": "required", "hosts": ["a"]}}
    environ = {"BROKER__API__HOSTS": "b"}
    found = load(Config, path=file, environ=environ, prefix="BROKER", beneath=beneath)
    assert found.api == Api(port=1, tls="required", hosts=("b",))


def test_what_lies_beneath_is_no_way_around_a_section_of_the_wrong_shape(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('account = "1"\napi = 3')
    with pytest.raises(ConfigError) as caught:
        load(Config, path=file, environ={}, prefix="BROKER", beneath={"api": {"port": 2}})
    assert caught.value.faults == ["api: must be a table, is a whole number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithDefault:
    api: Api = setting(Api(port=7), doc="a section with a default of its own")


def test_a_section_that_is_left_open_is_its_own_default() -> None:
    assert load(WithDefault, path=None, environ={}, prefix="BROKER").api.port == 7


def test_a_section_that_is_given_starts_from_its_settings_defaults() -> None:
    assert load(WithDefault, path=None, environ={"BROKER__API__TLS": "off"}, prefix="BROKER").api.port == 8080
