"""Signatures of releases: who published a release, for those who do not trust all writers of the bucket.

The signature is that of Ed25519 over the bytes of manifest.json, 64 bytes in manifest.json.sig. The manifest holds a
hash of each file, so it covers the release. Keys are PEM files as OpenSSL writes them, named by two environment
variables: the private key where releases are published, the public keys where they are opened.
"""

import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from two_tower.errors import InputError
from two_tower.releases.manifest import File, ReleaseError

SIGNING_KEY = "TWO_TOWER_SIGNING_KEY"  # path of the private key that signs published releases
VERIFY_KEY = "TWO_TOWER_VERIFY_KEY"  # path of the public keys; then only releases that one of them signed are opened
LENGTH = 64  # bytes of a signature

_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def sign(manifest: bytes) -> bytes | None:
    """Return the signature of a manifest by the key of TWO_TOWER_SIGNING_KEY; None if the variable is not set.

    Args:
        manifest: The bytes of manifest.json.

    Raises:
        InputError: The file is not an Ed25519 private key without a password.
    """
    content = _key_file(SIGNING_KEY)
    if content is None:
        return None
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        raise _not_a_key(SIGNING_KEY, "private", str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(SIGNING_KEY, "private", "it is a key of another algorithm")
    return key.sign(manifest)


def check(release_id: str, manifest: bytes, signature: bytes | None) -> None:
    """Check the signature of a manifest, if TWO_TOWER_VERIFY_KEY is set.

    Args:
        release_id: Id of the release, for the message.
        manifest: The bytes of manifest.json.
        signature: The bytes of manifest.json.sig; None if there is no such file.

    Raises:
        ReleaseError: The release is not signed, or by none of the keys.
        InputError: The file of the keys has no Ed25519 public key.
    """
    keys = public_keys()
    if keys is None:
        return
    path = os.environ[VERIFY_KEY]
    if signature is None:
        raise ReleaseError(
            f"release {release_id} is not signed: {File.SIGNATURE} is missing, and {VERIFY_KEY} is set. Publish it "
            f"again with {SIGNING_KEY}."
        )
    if not any(_is_by(key, manifest, signature) for key in keys):
        raise ReleaseError(
            f"release {release_id}: {File.SIGNATURE} is not a signature of {File.MANIFEST} by a key of {path} "
            f"({VERIFY_KEY}). Find out who published it before you use it."
        )


def is_required() -> bool:
    """Return whether only signed releases are opened."""
    return bool(os.environ.get(VERIFY_KEY))


def _is_by(key: Ed25519PublicKey, manifest: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        return False
    return True


def public_keys() -> list[Ed25519PublicKey] | None:
    """Return the keys of TWO_TOWER_VERIFY_KEY; None if the variable is not set.

    Raises:
        InputError: The file cannot be read, or has no Ed25519 public key.
    """
    content = _key_file(VERIFY_KEY)
    if content is None:
        return None
    keys = []
    for block in _PUBLIC.findall(content):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _not_a_key(VERIFY_KEY, "public", str(error)) from error
        if not isinstance(key, Ed25519PublicKey):
            raise _not_a_key(VERIFY_KEY, "public", "it is a key of another algorithm")
        keys.append(key)
    if not keys:
        raise _not_a_key(VERIFY_KEY, "public", "it has no block PUBLIC KEY")
    return keys


def _key_file(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{variable}={path} cannot be read: {error}. Correct the path or unset it.") from error


def _not_a_key(variable: str, kind: str, reason: str) -> InputError:
    return InputError(
        f"{variable}={os.environ[variable]} is not an Ed25519 {kind} key in PEM format: {reason}. Make a pair with "
        "`openssl genpkey -algorithm ed25519 -out key.pem` and `openssl pkey -in key.pem -pubout -out key.pub`."
    )
