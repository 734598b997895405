"""Passwords and keys that everybody knows, since they stand in examples."""

# From the documentation of FastAPI, Flask, Django, jwt.io and the examples that are copied from them.
WELL_KNOWN = (
    "", "secret", "Secret", "SECRET", "secret-key", "secret_key", "SECRET_KEY", "supersecret", "super-secret",
    "super-secret-key", "supersecretkey", "my-secret", "my-secret-key", "mysecret", "mysecretkey", "my_secret_key",
    "your-secret", "your-secret-key", "your_secret_key", "your-secret-key-here", "your-secret-key-change-this",
    "your-secret-key-change-in-production", "your-super-secret-key", "your-super-secret-key-change-in-production",
    "your-256-bit-secret", "your-384-bit-secret", "your-512-bit-secret", "a-string-secret-at-least-256-bits-long",
    "your-jwt-secret", "jwt-secret", "jwt_secret", "jwt-secret-key", "jwt_secret_key", "jwtsecret", "JWT_SECRET",
    "JWT_SECRET_KEY", "changeme", "change-me", "change_me", "CHANGE_ME", "changethis", "change-this",
    "change-me-in-production", "change-this-in-production", "dev", "dev-secret", "dev-secret-key", "development",
    "dev-secret-key-change-in-production", "development-secret-key", "test", "test-secret", "testing", "key",
    "password", "123456", "12345678", "0123456789", "default", "default-secret", "default-secret-key", "insecure",
    "insecure-secret-key", "shrimp", "shrimp-secret", "shrimp-secret-key", "shrimp-annotation",
    "shrimp-annotation-secret", "shrimp-annotation-secret-key", "shrimp-annotation-secret-key-change-in-production",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    "gV64m9aIzFG4qpgVphvQbPQrtAO0nM-7YwwOvu0XPt5KJOjAy4AfgLkqJXYEt",
)  # fmt: skip

# And passwords that people and images begin with.
_PASSWORDS = (
    "admin", "admin123", "administrator", "postgres", "root", "toor", "redis", "foobared", "guest", "user", "letmein",
    "welcome", "qwerty", "password1", "password123", "P@ssw0rd", "pass", "1234", "12345", "111111", "example",
    "secure_password", "shrimp_user", "shrimp_password", "annotator", "annotator123", "changeit",
)  # fmt: skip
_KNOWN = frozenset(value.lower() for value in (*WELL_KNOWN, *_PASSWORDS))


def is_well_known(value: str) -> bool:
    """Tell whether a password or key is one of those that are tried first, in whatever case."""
    return value.strip().lower() in _KNOWN
