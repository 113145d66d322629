"""Settings: where they come from, what is refused, what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwire.chassis.errors import SettingsError
from stepwire.chassis.settings import (
    HIDDEN,
    CallbackSecret,
    Settings,
    describe_settings,
    load_settings,
    unknown_settings,
)


def test_defaults_are_those_of_the_documentation() -> None:
    """With an empty environment everything has its documented value."""
    settings = load_settings({})
    assert settings == Settings()
    assert settings.kafka_bootstrap == "127.0.0.1:9092"
    assert settings.queues == ("default",)
    assert settings.max_message_bytes == 4 * 1024 * 1024
    assert settings.retrystep_max_delay_seconds == 3600


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """STEPWIRE_ENV_FILE names a file of settings; the environment overrides it."""
    file = tmp_path / "stepwire.env"
    file.write_text("STEPWIRE_QUEUES=slow, fast\nSTEPWIRE_GATEWAY_PORT=1000\n")
    settings = load_settings({"STEPWIRE_ENV_FILE": str(file), "STEPWIRE_GATEWAY_PORT": "2000"})
    assert settings.queues == ("slow", "fast")
    assert settings.gateway_port == 2000


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    """`*_FILE` names a file whose content is the value, without the line end."""
    file = tmp_path / "secret"
    file.write_text("new,old\n")
    settings = load_settings({"STEPWIRE_CALLBACK_SECRETS_FILE": str(file)})
    assert settings.callback_secrets == (CallbackSecret.of("new"), CallbackSecret.of("old"))


def test_a_secret_has_an_id_that_does_not_reveal_it() -> None:
    """The id is the beginning of a digest: equal secrets have equal ids."""
    first, again = CallbackSecret.of("a"), CallbackSecret.of("a")
    assert first.id == again.id == "ca978112"
    assert len({CallbackSecret.of(text).id for text in ("a", "b", "c")}) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEPWIRE_GATEWAY_PORT", "eighty"),
        ("STEPWIRE_GATEWAY_PORT", "70000"),
        ("STEPWIRE_EXECUTOR_THREADS", "0"),
        ("STEPWIRE_DATABASE_URL", "mysql://localhost/x"),
        ("STEPWIRE_KAFKA_BOOTSTRAP", "one:9092,two:kafka"),
        ("STEPWIRE_LOG_LEVEL", "loud"),
        ("STEPWIRE_TOPIC_PREFIX", "with space"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    """The sentence tells the setting, the value and where it came from."""
    with pytest.raises(SettingsError, match=rf"{name} '{value}' \(environment\) cannot be used"):
        load_settings({name: value})


@pytest.mark.parametrize(
    "hosts", ["one", "one:9092", "one:9092, two:9093", "[::1]:9092", "[::1]", "fe80::a", "127.0.0.1:1,[fe80::2]:2"]
)
def test_kafka_has_names_with_ports(hosts: str) -> None:
    """Several, and IPv6 too; a port may be left out."""
    assert load_settings({"STEPWIRE_KAFKA_BOOTSTRAP": hosts}).kafka_bootstrap == hosts


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """Both kinds of files are."""
    with pytest.raises(SettingsError, match="STEPWIRE_ENV_FILE names /nowhere"):
        load_settings({"STEPWIRE_ENV_FILE": "/nowhere"})
    with pytest.raises(SettingsError, match="STEPWIRE_DATABASE_URL_FILE names /nowhere"):
        load_settings({"STEPWIRE_DATABASE_URL_FILE": "/nowhere"})


def test_callback_secrets_are_required_where_they_are_used() -> None:
    """Without any there is a sentence that says what to do."""
    with pytest.raises(SettingsError, match="STEPWIRE_CALLBACK_SECRETS is not set"):
        load_settings({}).required_callback_secrets()


def test_what_is_shown_hides_secrets() -> None:
    """Neither the callback secrets nor the password in the database's URL are shown."""
    environment = {
        "STEPWIRE_CALLBACK_SECRETS": "verysecret",
        "STEPWIRE_DATABASE_URL": "postgresql://jane:pass@db:5432/x",
    }
    lines = {line.name: line for line in describe_settings(environment)}
    assert lines["STEPWIRE_CALLBACK_SECRETS"].value == HIDDEN
    assert lines["STEPWIRE_DATABASE_URL"].value == f"postgresql://jane:{HIDDEN}@db:5432/x"
    assert lines["STEPWIRE_DATABASE_URL"].source == "environment"
    assert lines["STEPWIRE_TOPIC_PREFIX"].source == "default"
    assert "verysecret" not in str(lines)


def test_a_secret_in_an_error_is_hidden() -> None:
    """Even a URL that cannot be used keeps its password, wherever it is in it."""
    for url in ("mysql://jane:s3cr@db/x", "postgresql://jane:s3cr@[::1/x", "postgresql://jane:s3cr/t@db/x"):
        with pytest.raises(SettingsError, match=r"STEPWIRE_DATABASE_URL .* cannot be used: ") as caught:
            load_settings({"STEPWIRE_DATABASE_URL": url})
        assert "s3cr" not in str(caught.value)


def test_a_password_among_the_parameters_is_hidden() -> None:
    """The driver takes it there, too."""
    url = "postgresql://db/x?user=jane&password=s3cr&sslmode=require"
    shown = {line.name: line.value for line in describe_settings({"STEPWIRE_DATABASE_URL": url})}
    expected = f"postgresql://db/x?user=jane&password={HIDDEN}&sslmode=require"
    assert shown["STEPWIRE_DATABASE_URL"] == expected


def test_a_typing_mistake_is_noticed() -> None:
    """A variable that is none of ours is named with the one that was meant."""
    assert unknown_settings({"STEPWIRE_QUEUE": "slow", "STEPWIRE_QUEUES": "slow", "OTHER": "x"}) == [
        "STEPWIRE_QUEUE is no setting of Stepwire; did you mean STEPWIRE_QUEUES?"
    ]


def test_pool_sizes_follow_the_service() -> None:
    """The executor needs a connection per thread and some for itself."""
    settings = Settings(executor_threads=4)
    assert (settings.pool_size("coordinator"), settings.pool_size("executor")) == (10, 20)
    assert Settings(database_pool_size=3).pool_size("executor") == 3


def test_an_address_for_spans_turns_them_on() -> None:
    """OpenTelemetry's own variable is enough, and ours has the last word."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert load_settings(endpoint).tracing
    assert not load_settings({**endpoint, "STEPWIRE_TRACING": "false"}).tracing
    assert not load_settings({}).tracing
    shown = {line.name: line.source for line in describe_settings(endpoint)}
    assert shown["STEPWIRE_TRACING"] == "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_settings_that_are_made_know_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests and tools make them by name; only `load_settings` reads, and only what it is given."""
    monkeypatch.setenv("STEPWIRE_GATEWAY_PORT", "1234")
    monkeypatch.setenv("GATEWAY_PORT", "1235")
    assert Settings().gateway_port == load_settings({}).gateway_port == 8080
    assert load_settings().gateway_port == 1234


def test_the_environment_wins_also_by_the_file_it_names(tmp_path: Path) -> None:
    """Each place may give a value or name a file that holds it; the sources say which it was."""
    secret, file = tmp_path / "url", tmp_path / "stepwire.env"
    secret.write_text("postgresql://a@b/c\n")
    file.write_text("STEPWIRE_DATABASE_URL=postgresql://x@y/z\nSTEPWIRE_LOG_LEVEL=debug\n")
    environ = {"STEPWIRE_ENV_FILE": str(file), "STEPWIRE_DATABASE_URL_FILE": str(secret), "STEPWIRE_QUEUES": ""}
    assert load_settings(environ).database_url == "postgresql://a@b/c"
    sources = {line.name: line.source for line in describe_settings(environ)}
    assert sources["STEPWIRE_DATABASE_URL"] == str(secret)
    assert sources["STEPWIRE_LOG_LEVEL"] == str(file)
    assert sources["STEPWIRE_QUEUES"] == "default"
