-- Times are epoch seconds of the store's clock. Lists are JSON text.

CREATE TABLE users (
    user_id             TEXT PRIMARY KEY NOT NULL,
    username            TEXT NOT NULL,
    username_key        TEXT NOT NULL UNIQUE,
    email               TEXT,
    roles               TEXT NOT NULL,
    password_hash       TEXT,
    active              INTEGER NOT NULL,
    epoch               INTEGER NOT NULL,
    created_at          REAL NOT NULL,
    password_changed_at REAL NOT NULL
);

-- `retired` is the history of generations younger than the late window: [[generation, retired at], ...].
-- It stands in the row, so a session stays one row and one write however often it is refreshed.
CREATE TABLE sessions (
    sid                  TEXT PRIMARY KEY NOT NULL,
    user_id              TEXT NOT NULL,
    channel              TEXT NOT NULL,
    kid                  INTEGER NOT NULL,
    created_at           REAL NOT NULL,
    auth_time            REAL NOT NULL,
    amr                  TEXT NOT NULL,
    generation           INTEGER NOT NULL,
    delivery             INTEGER NOT NULL,
    confirmed_generation INTEGER NOT NULL,
    presented_generation INTEGER NOT NULL,
    rotated_at           REAL NOT NULL,
    last_seen_at         REAL NOT NULL,
    last_passive_at      REAL NOT NULL,
    max_access_exp       REAL NOT NULL,
    idle_expires_at      REAL NOT NULL,
    absolute_expires_at  REAL NOT NULL,
    bound_address        TEXT NOT NULL,
    bound_network        TEXT NOT NULL,
    bound_user_agent     TEXT NOT NULL,
    bound_device         TEXT NOT NULL,
    seen_address         TEXT NOT NULL,
    seen_network         TEXT NOT NULL,
    seen_user_agent      TEXT NOT NULL,
    seen_device          TEXT NOT NULL,
    retries              TEXT NOT NULL,
    proof_required       INTEGER NOT NULL,
    revoked_at           REAL,
    revoke_reason        TEXT,
    retired              TEXT NOT NULL DEFAULT '[]'
);

CREATE INDEX sessions_unended_by_user ON sessions (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_by_deadline ON sessions (min(idle_expires_at, absolute_expires_at)) WHERE revoked_at IS NULL;
CREATE INDEX sessions_ended ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX sessions_stolen ON sessions (user_id, revoked_at) WHERE revoke_reason = 'reuse';

-- Append-only. AUTOINCREMENT: a number is never given twice, and one writer at a time makes it follow commit order.
CREATE TABLE revocations (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      INTEGER NOT NULL,
    expires_at REAL NOT NULL
);

CREATE INDEX revocations_by_expiry ON revocations (expires_at);

CREATE TABLE signing_keys (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    kid        TEXT NOT NULL UNIQUE,
    algorithm  TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    master_kid INTEGER NOT NULL,
    public_jwk TEXT NOT NULL,
    created_at REAL NOT NULL,
    active_from REAL NOT NULL,
    retired_at REAL
);

CREATE TABLE marks (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
);

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         REAL NOT NULL,
    name       TEXT NOT NULL,
    level      TEXT NOT NULL,
    user_id    TEXT,
    session_id TEXT,
    document   BLOB NOT NULL
);
