"""Where S3 credentials come from, and that they show themselves nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import Unavailable
from storage.objects.credentials import Credentials, CredentialSource

TEXT = "[default]\naws_access_key_id = AKEXAMPLE\naws_secret_access_key = s%cret/+=\n"


def file_of(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "credentials"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_file_in_the_form_of_the_aws_tools_is_read(tmp_path: Path) -> None:
    source = CredentialSource(file_of(tmp_path, TEXT + "aws_session_token = tok\n"), {})
    assert source.now() == Credentials("AKEXAMPLE", "s%cret/+=", "tok")


def test_environment_is_asked_where_no_file_is_named() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert CredentialSource(None, environ).now() == Credentials("a", "b")


def test_named_file_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert CredentialSource(file_of(tmp_path, TEXT), environ).now().access_key == "AKEXAMPLE"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Unavailable, match="chmod 600"):
        CredentialSource(file_of(tmp_path, TEXT, mode), {}).now()


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    path = file_of(tmp_path, TEXT)
    source = CredentialSource(path, {})
    source.now()
    later = path.with_name("new")
    later.write_text(TEXT.replace("s%cret", "changed"))
    later.chmod(0o600)
    later.replace(path)  # as tools that rotate secrets do
    assert source.now().secret_key == "changed/+="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[other]\n",
        "[default]\naws_access_key_id = a\n",
        "no section",
        "[default\nx",
        "[default]\nsecretsecret",
        "\0",
    ],
)
def test_incomplete_file_says_what_it_needs_and_not_what_it_has(tmp_path: Path, text: str) -> None:
    with pytest.raises(Unavailable, match=r"needs \[default\]") as refused:
        CredentialSource(file_of(tmp_path, text), {}).now()
    assert "secretsecret" not in str(refused.value)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(Unavailable):
        CredentialSource(path, {}).now()


def test_missing_credentials_say_what_mends_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="AWS_ACCESS_KEY_ID"):
        CredentialSource(None, {}).now()
    with pytest.raises(Unavailable, match="No such file"):
        CredentialSource(tmp_path / "none", {}).now()


def test_credentials_do_not_show_themselves() -> None:
    assert "AKEXAMPLE" not in repr(Credentials("AKEXAMPLE", "secret", "token"))
    assert "secret" not in repr(Credentials("AKEXAMPLE", "secret", "token"))
