"""Formats that are recognised so that they can be refused by name instead of by "unknown"."""

from __future__ import annotations

import re

_HEX = r"[0-9A-Fa-f]"

_MARKS: tuple[tuple[str, str], ...] = (
    (r"\$apr1\$", "apr_md5_crypt"),
    (r"\$1\$", "md5_crypt"),
    (r"\$5\$", "sha256_crypt"),
    (r"\$6\$", "sha512_crypt"),
    (r"\$7\$", "scrypt_crypt"),
    (r"\$(?:g?y)\$", "yescrypt"),
    (r"\$sha1\$", "sha1_crypt"),
    (r"\$md5[$,]", "sun_md5_crypt"),
    (r"\$3\$", "nthash"),
    (r"\$S\$", "drupal7"),
    (r"\$wp\$", "wordpress_6.8"),
    (r"\$bcrypt-sha256\$", "bcrypt_sha256"),
    (r"bcrypt_sha256\$", "django_bcrypt_sha256"),
    (r"\$pbkdf2-sha256\$", "pbkdf2_sha256"),
    (r"\$pbkdf2-sha512\$", "pbkdf2_sha512"),
    (r"\$pbkdf2\$", "pbkdf2_sha1"),
    (r"\$p5k2\$[^$]*\$[^$]*\$[^$]{28}\Z", "cta_pbkdf2_sha1"),
    (r"\$p5k2\$", "dlitz_pbkdf2_sha1"),
    (r"grub\.pbkdf2\.sha512\.", "grub_pbkdf2_sha512"),
    (r"\$scram\$", "scram"),
    (r"SCRAM-SHA-256\$", "scram"),
    (r"crypt\$", "django_des_crypt"),
    (r"md5\$", "django_salted_md5"),
    (r"sha1\$", "django_salted_sha1"),
    (r"\{PKCS5S2\}", "atlassian_pbkdf2_sha1"),
    (r"\{FSHP\d", "fshp"),
    (r"\{MD5\}", "ldap_md5"),
    (r"\{SMD5\}", "ldap_salted_md5"),
    (r"\{SHA\}", "ldap_sha1"),
    (r"\{SSHA\}", "ldap_salted_sha1"),
    (r"\{SSHA256\}", "ldap_salted_sha256"),
    (r"\{SSHA512\}", "ldap_salted_sha512"),
    (r"\{CRYPT\}\$1\$", "ldap_md5_crypt"),
    (r"\{CRYPT\}", "ldap_crypt"),
    (rf"0x0100{_HEX}{{48}}\Z", "mssql2005"),
    (rf"0x0100{_HEX}{{88}}\Z", "mssql2000"),
    (rf"0x0200{_HEX}+\Z", "mssql2012"),
    (rf"\*{_HEX}{{40}}\Z", "mysql41"),
    (rf"S:{_HEX}{{60}}\Z", "oracle11"),
    (rf"{_HEX}{{32}}\Z", "hex_md5 or nthash"),
    (rf"{_HEX}{{40}}\Z", "hex_sha1"),
    (rf"{_HEX}{{64}}\Z", "hex_sha256"),
    (rf"{_HEX}{{128}}\Z", "hex_sha512"),
    (r"\{.*\"signer_key\"", "firebase_scrypt"),
)
_COMPILED = tuple((re.compile(mark), name) for mark, name in _MARKS)


def refused_scheme(text: str) -> str | None:
    """The name of the unsupported format `text` is in, or None when it looks like nothing known."""
    return next((name for mark, name in _COMPILED if mark.match(text)), None)
