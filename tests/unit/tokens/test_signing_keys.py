"""Keys against the examples of RFC 7515, 7517, 7638 and 8037."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.tokens import key_pair

from gateway.tokens import encoding, keys
from gateway.tokens.keys import Algorithm, KeyPair

ED25519 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
P256 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
RSA_PUBLIC = {
    "kty": "RSA",
    "n": (
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-"
        "pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca"
        "pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb5"
        "4h4FRWyuXpoQ"
    ),
    "e": "AQAB",
}
PAYLOAD = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"


def decode(text: str) -> bytes:
    data = encoding.decode(text.encode())
    assert data is not None
    return data


def pair_of(private: ec.EllipticCurvePrivateKey | object, algorithm: Algorithm) -> KeyPair:
    der: bytes = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[union-attr]
    return keys.from_private_der(algorithm, der)


def test_rfc8037_a1_to_a4() -> None:
    pair = pair_of(OKPAlgorithm.from_jwk(ED25519), Algorithm.EDDSA)
    assert pair.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert pair.jwk["x"] == ED25519["x"]
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    assert pair.sign(message) == decode(signature)
    assert pair.verify(message, decode(signature))
    assert not pair.verify(message + b"x", decode(signature))


def test_rfc7515_a3_es256() -> None:
    pair = pair_of(ECAlgorithm.from_jwk(P256), Algorithm.ES256)
    message = b"eyJhbGciOiJFUzI1NiJ9." + PAYLOAD
    signature = decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
    assert pair.verify(message, signature)
    assert not pair.verify(message, signature[::-1])
    own = pair.sign(message)
    assert len(own) == 64
    assert pair.verify(message, own)


def test_rfc7515_a2_rs256() -> None:
    public = RSAAlgorithm.from_jwk(RSA_PUBLIC)
    pair = KeyPair("a2", Algorithm.RS256, b"", {}, None, public)
    signature = decode(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr"
        "7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--x"
        "i12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Ioy"
        "pGlUPQGe77Rw"
    )
    message = b"eyJhbGciOiJSUzI1NiJ9." + PAYLOAD
    assert pair.verify(message, signature)
    assert not pair.verify(message, signature[:-1] + b"\0")


def test_rfc7638_3_1_thumbprint() -> None:
    jwk = {
        "kty": "RSA",
        "n": (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4"
            "n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0"
            "zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-c"
            "sFCur-kEgU8awapJzKnqDKgw"
        ),
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert keys.thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_rfc7517_a1_and_a2_public_members_of_a_private_key() -> None:
    private = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    }
    pair = pair_of(ECAlgorithm.from_jwk(private), Algorithm.ES256)
    assert {name: pair.jwk[name] for name in ("kty", "crv", "x", "y")} == {
        name: private[name] for name in ("kty", "crv", "x", "y")
    }
    assert "d" not in pair.jwk


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_generated_keys_survive_storage_and_stay_apart(algorithm: Algorithm) -> None:
    pair = key_pair(algorithm)
    again = keys.from_private_der(algorithm, pair.private_der())
    assert again.kid == pair.kid
    assert again.header == pair.header
    assert again.jwk == pair.jwk
    assert again.verify(b"message", pair.sign(b"message"))
    assert key_pair(algorithm, 1).kid != pair.kid
    assert not key_pair(algorithm, 1).verify(b"message", pair.sign(b"message"))


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize(
    "signature", [b"", b"\0", bytes(63), bytes(64), bytes(65), bytes(256), b"\xff" * 64, b"\xff" * 256]
)
def test_signatures_of_any_shape_are_just_wrong(algorithm: Algorithm, signature: bytes) -> None:
    assert not key_pair(algorithm).verify(b"message", signature)


def test_rsa_keys_are_2048_bits() -> None:
    assert len(key_pair(Algorithm.RS256).sign(b"")) == 256


def test_a_key_of_another_kind_is_refused() -> None:
    for algorithm in Algorithm:
        for other in Algorithm:
            if other != algorithm:
                with pytest.raises(ValueError, match=f"not a private key for {algorithm}"):
                    keys.from_private_der(algorithm, key_pair(other).private_der())


def test_other_curves_and_garbage_are_refused() -> None:
    with pytest.raises(ValueError, match="ES256"):
        pair_of(ec.generate_private_key(ec.SECP384R1()), Algorithm.ES256)
    with pytest.raises(ValueError, match="EdDSA"):
        pair_of(ed448.Ed448PrivateKey.generate(), Algorithm.EDDSA)
    with pytest.raises(ValueError, match="RS256"):
        pair_of(rsa.generate_private_key(65537, 1024), Algorithm.RS256)
    for algorithm in Algorithm:
        with pytest.raises(ValueError, match="not a private key"):
            keys.from_private_der(algorithm, b"garbage")


def test_no_private_key_in_any_text() -> None:
    pair = pair_of(OKPAlgorithm.from_jwk(ED25519), Algorithm.EDDSA)
    text = repr(pair) + str(pair) + keys.public_text(pair)
    assert ED25519["d"] not in text
    assert "_private" not in text
