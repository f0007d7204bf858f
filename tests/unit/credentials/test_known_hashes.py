"""Foreign hashes whose passwords are published: every row must hold."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.credentials.schemes.refused import refused_scheme
from gateway.credentials.schemes.registry import parse_hash
from gateway.errors import InvalidRequest

ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "password-hashes.json").read_text())
GOOD = [row for row in ROWS if row["ok"] is True]
WRONG = [row for row in ROWS if row["ok"] is False]
MALFORMED = [row for row in ROWS if row["ok"] == "malformed"]

REFUSED = {
    "apr_md5_crypt": "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/",
    "fshp": "{FSHP0|0|1}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
    "hex_md5 or nthash": "5f4dcc3b5aa765d61d8327deb882cf99",
    "hex_sha1": "5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8",
    "hex_sha256": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
    "hex_sha512": "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb9"
    "80b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86",
    "ldap_md5": "{MD5}/F4DjTilcDIIVEHn/nAQsA==",
    "ldap_sha1": "{SHA}at+xg6SiyUovktq1redipHiJpaE=",
    "ldap_salted_md5": "{SMD5}UjFY34os/pnZQ3oQOzjqGu4yeXE=",
    "ldap_salted_sha1": "{SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr",
    "ldap_salted_sha256": "{SSHA256}x1tymSTVjozxQ2PtT46ysrzhZxbcskK0o2f8hEFx7fAQQmhtDSEkJA==",
    "ldap_salted_sha512": "{SSHA512}wExp4xjiCHS0zidJDC4UJq9EEeIebAQPJ1PWSwfhxWjfutI9XiiKuHm2AE41cEFfK+8HyI8bh+",
    "ldap_md5_crypt": "{CRYPT}$1$dOHYPKoP$tnxS1T8Q6VVn3kpV8cN6o.",
    "md5_crypt": "$1$dXc3I7Rw$ctlgjDdWJLMT.qwHsWhXR1",
    "mssql2005": "0x010034767D5C2FD54D6119FFF04129A1D72E7C3194F7284A7F3A",
    "mysql41": "*2C905879F74F28F8570989947D06A8429FB943E6",
    "oracle11": "S:5FDAB69F543563582BA57894FE1C1361FB8ED57B903603F2C52ED1B4D642",
    "sha1_crypt": "$sha1$19703$iVdJqfSE$v4qYKl1zqYThwpjJAoKX6UvlHq/a",
    "sha256_crypt": "$5$LKO/Ute40T3FNF95$U0prpBQd4PloSGU0pnpM4z9wKn4vZ1.jsrzQfPqxph9",
    "sha512_crypt": "$6$LKO/Ute40T3FNF95$6S/6T2YuOIHY0N3XpLKABJ3soYcXD9mB7uVbtEZDj/LNscVhZoZ9DEH.sBciDrMsHOWOoA",
    "sun_md5_crypt": "$md5$zrdhpMlZ$$wBvMOEqbSjU.hu5T2VEP01",
    "bcrypt_sha256": "$bcrypt-sha256$v=2,t=2b,r=5$E/e/2AOhqM5W/KJTFQzLce$WFPIZKtDDTriqWwlmRFfHiOTeheAZWe",
    "django_des_crypt": "crypt$c2$c2M87q...WWcU",
    "django_salted_md5": "md5$123abcdef$c8272612932975ee80e8a35995708e80",
    "django_salted_sha1": "sha1$123abcdef$e4a1877b0e35c47329e7ed7e58014276168a37ba",
    "django_bcrypt_sha256": "bcrypt_sha256$$2a$06$/3OeRpbOf8/l6nPPRdZPp.nRiyYqPobEZGdNRBWihQhiFDh1ws1tu",
    "atlassian_pbkdf2_sha1": "{PKCS5S2}c4xaeTQM0lUieMS3V5voiexyX9XhqC2dBd5ecVy60IPksHChwoTAVYFrhsgoq8/p",
    "pbkdf2_sha1": "$pbkdf2$1212$OB.dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI",
    "pbkdf2_sha256": "$pbkdf2-sha256$1212$4vjV83LKPjQzk31VI4E0Vw$hsYF68OiOUPdDZ1Fg.fJPeq1h/gXXY7acBp9/6c.tmQ",
    "pbkdf2_sha512": "$pbkdf2-sha512$1212$RHY0Fr3IDMSVO/RSZyb5ow$eNLfBK.eVozomMr.1gYa17k9B7KIK25NOEshvhrSX.esqY",
    "cta_pbkdf2_sha1": "$p5k2$1000$ZxK4ZBJCfQg=$jJZVscWtO--p1-xIZl6jhO2LKR0=",
    "dlitz_pbkdf2_sha1": "$p5k2$$exec$r1EWMCMk7Rlv3L/RNcFXviDefYa0hlql",
    "grub_pbkdf2_sha512": "grub.pbkdf2.sha512.10000.BCAC1CEC5E4341C8C511C5297FA877BE91C2817B32A35A3ECF5CA6B8B",
    "scram": "$scram$4096$QSXCR.Q6sek8bf92$sha-1=HZbuOlKbWl.eR8AfIposuKbhX30",
    "drupal7": "$S$ErandomsaOpYrAZqwxGynirQbWYCb3ejW4BwGH81LJcOzbzeVd02",
    "wordpress_6.8": "$wp$2y$10$Q1xinFjrZeLWJBvxviIL6u834Fu.evIEFHAUVisQ5O.w9Dm0sMdES",
    "firebase_scrypt": '{"signer_key": "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLzxUECK", "rounds": 8}',
}

TOO_COSTLY = [
    "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=262144,t=5,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=8,t=4294967295,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=65536,t=2,p=255$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$2b$31$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
    "$2b$16$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
    "$scrypt$ln=30,r=8,p=1$cmFuZG9tc2FsdGlzaGFyZA$Rh+NnJNo1I6nRwaNqbDm6kmADswD1+7FTKZ7Ln9D8nQ",
    "$scrypt$ln=1,r=1,p=4194304$cmFuZG9tc2FsdGlzaGFyZA$Rh+NnJNo1I6nRwaNqbDm6kmADswD1+7FTKZ7Ln9D8nQ",
    "scrypt$1073741824$seasalt$8$5$ECMIUp+LMxMSK8xB/IVyba+KYGTI7FTnet025q/1f/vBAVnnP3hdYqJuRi+mJn6ji6ze3Fbb7JEFPKGpuEf5vw==",
    "pbkdf2_sha256$1000000000$seasalt$r1uLUxoxpP2Ued/qxvmje7UH9PUJBkRrvf9gGPL7Cps=",
    "$P$JIQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0",
]

SHAPELESS = [
    "$argon2id$v=18$m=65536,t=2,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=65536,t=2,p=1$c29t$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$GpZ3",
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHR$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQab$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
    "$2b$03$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
    "$2$05$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
    "$scrypt$ln=64,r=8,p=1$cmFuZG9tc2FsdGlzaGFyZA$Rh+NnJNo1I6nRwaNqbDm6kmADswD1+7FTKZ7Ln9D8nQ",
    "$scrypt$ln=16,r=1,p=1$cmFuZG9tc2FsdGlzaGFyZA$Rh+NnJNo1I6nRwaNqbDm6kmADswD1+7FTKZ7Ln9D8nQ",
    "$scrypt$ln=4,r=8,p=1$cmFuZG9tc2FsdGlzaGFyZA$Rh+N",
    "scrypt$1000$seasalt$8$5$ECMIUp+LMxMSK8xB/IVyba+KYGTI7FTnet025q/1f/vBAVnnP3hdYqJuRi+mJn6ji6ze3Fbb7JEFPKGpuEf5vw==",
    "scrypt$1024$seasalt$8$5$!",
    "pbkdf2_sha256$1000$seasalt$r1uLUxoxpP2Ued/qxvmje7UH",
    "pbkdf2_sha256$0$seasalt$r1uLUxoxpP2Ued/qxvmje7UH9PUJBkRrvf9gGPL7Cps=",
    "pbkdf2_sha1$1000$$r1uLUxoxpP2Ued/qxvmje7UH9PU=",
    "$P$.IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0",
    "$P$zIQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0",
]


def secret(row: dict[str, Any]) -> bytes:
    """The password's bytes: text, or base64 where it is not text."""
    return base64.b64decode(row["pw_b64"]) if "pw_b64" in row else row["password"].encode()


def test_the_table_is_whole() -> None:
    assert (len(GOOD), len(WRONG), len(MALFORMED)) == (114, 18, 18)


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row["hash"][:40])
def test_the_right_password_verifies(row: dict[str, Any]) -> None:
    assert parse_hash(row["hash"]).verify(secret(row))


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row["hash"][:40])
def test_a_wrong_password_does_not(row: dict[str, Any]) -> None:
    assert not parse_hash(row["hash"]).verify(secret(row))


@pytest.mark.parametrize("text", [row["hash"] for row in MALFORMED] + SHAPELESS)
def test_a_malformed_hash_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_hash(text)


@pytest.mark.parametrize("text", TOO_COSTLY)
def test_an_absurd_cost_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="costs too much to verify"):
        parse_hash(text)


@pytest.mark.parametrize(("name", "text"), REFUSED.items())
def test_other_schemes_are_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_hash(text)
    assert str(refusal.value).startswith(f"hash scheme {name} is not supported")
    assert refused_scheme(text) == name


@pytest.mark.parametrize("text", ["", "hunter2", "$99$what", "pässword", "x" * 5000, "$argon", "{UNKNOWN}abc"])
def test_what_is_no_hash_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_hash(text)
    assert not text or text not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
        "$scrypt$ln=4,r=1,p=1$$d9ZXYjhleyA7GcpCwYoEl/FrSETjB0ro39/6P+3iFEI",
        "pbkdf2_sha256$10000$kjVJaVz6qsnJ$5yPHw3rwJGECpUf70daLGhOrQ5+AMxIJdz1c3bqK1Rs=",
    ],
)
def test_nul_cannot_stand_for_padding(text: str) -> None:
    password = next(secret(row) for row in GOOD if row["hash"] == text)
    assert parse_hash(text).verify(password)
    assert not parse_hash(text).verify(password + b"\0")
    assert not parse_hash(text).verify(password + b"\0" + password)
