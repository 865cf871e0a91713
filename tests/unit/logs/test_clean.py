"""What is taken out of logs on their way into an archive."""

from __future__ import annotations

import io

import pytest

from waagent.logs import clean

SECRET = "s3cr3t/+x="


def cleaned(text: str | bytes, *secrets: str) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return b"".join(clean.clean(io.BytesIO(raw), secrets)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://a.blob.core.windows.net/c/b?sv=2018&sig={SECRET}&se=2030 200",
        f"https%3A%2F%2Fa%2Fb%3Fsv%3D1%26sig%3D{SECRET}",
        f"proxy http://user:{SECRET}@proxy:3128/".replace("/+", "-"),
        f'{{"protectedSettings": "{SECRET}", "seq": 1}}',
        rf'{{\"protectedSettings\":\"{SECRET}\"}}',
        f"{{&quot;protectedSettings&quot;:&quot;{SECRET}&quot;}}",
        f'{{"password":"{SECRET}"}}',
        f"DefaultEndpointsProtocol=https;AccountKey={SECRET};EndpointSuffix=x",
        f"Authorization: Bearer {SECRET}",
        f"<ns1:UserPassword>{SECRET}</ns1:UserPassword>",
        f"<CustomData>\n{SECRET}\n</CustomData>",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----\n",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n",
    ],
)
def test_secrets_go_and_the_rest_stays(text: str) -> None:
    told = cleaned(f"before\n{text}\n-----END PRIVATE KEY-----\nafter\n")
    assert SECRET not in told and "s3cr3t" not in told
    assert "REDACTED" in told
    assert told.startswith("before\n") and told.endswith("after\n")


def test_known_secrets_go_wherever_they_stand() -> None:
    assert cleaned("login of ada with swordfish, ab\n", "swordfish", "ab") == "login of ada with ***REDACTED***, ab\n"


@pytest.mark.parametrize("text", ["", "plain\n", "no end of line", "<Password/>\nkept\n", "a?b=c&d\n", "binary \x00\x01\n"])
def test_what_is_no_secret_is_untouched(text: str) -> None:
    assert cleaned(text) == text


def test_a_secret_across_blocks() -> None:
    line = "x" * 99 + "\n"
    text = line * (clean.BLOCK // 100) + f"<CustomData>{'A' * 80}\n" + f"{SECRET}\n" * 8000 + "</CustomData>\nend\n"
    told = cleaned(text)
    assert SECRET not in told
    assert told.endswith("</CustomData>\nend\n")


def test_an_element_that_never_ends_takes_no_more_than_its_block() -> None:
    line = "x" * 99 + "\n"
    told = cleaned("expected <Password> here\n" + line * (4 * clean.BLOCK // 100))
    assert len(told) > 2 * clean.BLOCK


def test_a_line_longer_than_blocks() -> None:
    text = "y" * (3 * clean.BLOCK) + f"?sig={SECRET}\n"
    assert cleaned(text).startswith("y" * (3 * clean.BLOCK))
    assert "s3cr3t" not in cleaned(text)
