-- Times are epoch seconds of the store's clock. Lists are JSON text. Text sorts by code point, as everywhere else.

CREATE TABLE users (
    user_id              text COLLATE "C" PRIMARY KEY,
    username             text COLLATE "C" NOT NULL,
    username_key         text COLLATE "C" NOT NULL UNIQUE,
    email                text COLLATE "C",
    roles                text COLLATE "C" NOT NULL,
    password_hash        text COLLATE "C",
    active               boolean NOT NULL,
    epoch                bigint NOT NULL,
    created_at           double precision NOT NULL,
    password_changed_at  double precision NOT NULL
);

-- `retired_generations` and `retired_times` are the history of generations younger than the late window, oldest first.
-- `look_at` is never later than the session's deadline and moves only when cleanup looks or the deadline comes nearer:
-- a rotation changes no indexed column, so its new row version stays on the page and out of every index (HOT).
CREATE TABLE sessions (
    sid                  text COLLATE "C" PRIMARY KEY,
    user_id              text COLLATE "C" NOT NULL,
    channel              text COLLATE "C" NOT NULL,
    kid                  integer NOT NULL,
    created_at           double precision NOT NULL,
    auth_time            double precision NOT NULL,
    amr                  text COLLATE "C" NOT NULL,
    generation           bigint NOT NULL,
    delivery             bigint NOT NULL,
    confirmed_generation bigint NOT NULL,
    presented_generation bigint NOT NULL,
    rotated_at           double precision NOT NULL,
    last_seen_at         double precision NOT NULL,
    last_passive_at      double precision NOT NULL,
    max_access_exp       double precision NOT NULL,
    idle_expires_at      double precision NOT NULL,
    absolute_expires_at  double precision NOT NULL,
    bound_address        text COLLATE "C" NOT NULL,
    bound_network        text COLLATE "C" NOT NULL,
    bound_user_agent     text COLLATE "C" NOT NULL,
    bound_device         text COLLATE "C" NOT NULL,
    seen_address         text COLLATE "C" NOT NULL,
    seen_network         text COLLATE "C" NOT NULL,
    seen_user_agent      text COLLATE "C" NOT NULL,
    seen_device          text COLLATE "C" NOT NULL,
    retries              text COLLATE "C" NOT NULL,
    proof_required       boolean NOT NULL,
    revoked_at           double precision,
    revoke_reason        text COLLATE "C",
    retired_generations  bigint[] NOT NULL DEFAULT '{}',
    retired_times        double precision[] NOT NULL DEFAULT '{}',
    look_at              double precision NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX sessions_unended_by_user ON sessions (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_to_look_at ON sessions (look_at) WHERE revoked_at IS NULL;
CREATE INDEX sessions_ended ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX sessions_stolen ON sessions (user_id, revoked_at) WHERE revoke_reason = 'reuse';

-- Append-only, and only through gateway_append_feed: `seq` follows the order of commits.
CREATE TABLE revocations (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      bigint NOT NULL,
    expires_at double precision NOT NULL
);

CREATE INDEX revocations_by_expiry ON revocations (expires_at);

CREATE TABLE signing_keys (
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kid         text COLLATE "C" NOT NULL UNIQUE,
    algorithm   text NOT NULL,
    sealed      bytea NOT NULL,
    master_kid  integer NOT NULL,
    public_jwk  text NOT NULL,
    created_at  double precision NOT NULL,
    active_from double precision NOT NULL,
    retired_at  double precision
);

CREATE TABLE marks (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE events (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         double precision NOT NULL,
    name       text NOT NULL,
    level      text NOT NULL,
    user_id    text,
    session_id text,
    document   bytea NOT NULL
);

-- A sequence alone follows the order of inserts: whoever commits later would be missed by those who read in between.
-- The lock is held until the commit, so it must be the last one a transaction takes.
CREATE FUNCTION gateway_append_feed(p_kinds text[], p_keys text[], p_values bigint[], p_expiries double precision[])
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    numbers bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(1735349369, 2);
    WITH added AS (
        INSERT INTO revocations (kind, key, value, expires_at)
        SELECT d.kind, d.key, d.value, d.expires_at
        FROM unnest(p_kinds, p_keys, p_values, p_expiries) WITH ORDINALITY AS d (kind, key, value, expires_at, n)
        ORDER BY d.n
        RETURNING seq
    )
    SELECT array_agg(added.seq ORDER BY added.seq) INTO numbers FROM added;
    PERFORM pg_notify('gateway_feed', '');
    RETURN numbers;
END
$$;

-- One statement of one round trip: lock the user, then the session (the order everywhere), read the clock after that, and
-- carry out the plainest outcome of `decide` if this is it: the current generation, handed out once, nothing odd on record.
-- `applied` tells. Otherwise everything `decide` needs is answered. With p_apply false nothing is written and the user is
-- locked for an update: the caller goes on in the same transaction. The store runs `decide` on what comes back either way
-- and compares; tests/property/test_rotation_in_sql.py holds the two together.
CREATE FUNCTION gateway_rotate(
    p_apply boolean,
    p_sid text,
    p_presented bigint,
    p_channel text,
    p_address text,
    p_network text,
    p_user_agent text,
    p_device text,
    p_access_ttl double precision,
    p_idle_ttl double precision,
    p_reauth_after double precision,
    p_device_enforced boolean,
    p_ip_enforced boolean,
    p_keep_for double precision,
    p_margin double precision,
    p_history_limit integer,
    p_theft_memory double precision,
    p_now double precision,
    OUT s_sid text,
    OUT s_user_id text,
    OUT s_channel text,
    OUT s_kid integer,
    OUT s_created_at double precision,
    OUT s_auth_time double precision,
    OUT s_amr text,
    OUT s_generation bigint,
    OUT s_delivery bigint,
    OUT s_confirmed_generation bigint,
    OUT s_presented_generation bigint,
    OUT s_rotated_at double precision,
    OUT s_last_seen_at double precision,
    OUT s_last_passive_at double precision,
    OUT s_max_access_exp double precision,
    OUT s_idle_expires_at double precision,
    OUT s_absolute_expires_at double precision,
    OUT s_bound_address text,
    OUT s_bound_network text,
    OUT s_bound_user_agent text,
    OUT s_bound_device text,
    OUT s_seen_address text,
    OUT s_seen_network text,
    OUT s_seen_user_agent text,
    OUT s_seen_device text,
    OUT s_retries text,
    OUT s_proof_required boolean,
    OUT s_revoked_at double precision,
    OUT s_revoke_reason text,
    OUT u_user_id text,
    OUT u_username text,
    OUT u_username_key text,
    OUT u_email text,
    OUT u_roles text,
    OUT u_password_hash text,
    OUT u_active boolean,
    OUT u_epoch bigint,
    OUT u_created_at double precision,
    OUT u_password_changed_at double precision,
    OUT at double precision,
    OUT applied boolean,
    OUT w_last_seen_at double precision,
    OUT w_idle_expires_at double precision,
    OUT w_max_access_exp double precision,
    OUT stolen boolean,
    OUT h_generations bigint[],
    OUT h_times double precision[]
) LANGUAGE plpgsql AS $$
BEGIN
    applied := false;
    stolen := false;
    -- Whose a session is never changes, so this read needs no lock.
    SELECT t.user_id INTO s_user_id FROM sessions t WHERE t.sid = p_sid;
    IF p_apply THEN
        SELECT t.user_id, t.username, t.username_key, t.email, t.roles, t.password_hash, t.active, t.epoch, t.created_at,
            t.password_changed_at
        INTO u_user_id, u_username, u_username_key, u_email, u_roles, u_password_hash, u_active, u_epoch, u_created_at,
            u_password_changed_at
        FROM users t WHERE t.user_id = s_user_id FOR SHARE;
    ELSE
        SELECT t.user_id, t.username, t.username_key, t.email, t.roles, t.password_hash, t.active, t.epoch, t.created_at,
            t.password_changed_at
        INTO u_user_id, u_username, u_username_key, u_email, u_roles, u_password_hash, u_active, u_epoch, u_created_at,
            u_password_changed_at
        FROM users t WHERE t.user_id = s_user_id FOR NO KEY UPDATE;
    END IF;
    SELECT t.sid, t.user_id, t.channel, t.kid, t.created_at, t.auth_time, t.amr, t.generation, t.delivery,
        t.confirmed_generation, t.presented_generation, t.rotated_at, t.last_seen_at, t.last_passive_at,
        t.max_access_exp, t.idle_expires_at, t.absolute_expires_at, t.bound_address, t.bound_network,
        t.bound_user_agent, t.bound_device, t.seen_address, t.seen_network, t.seen_user_agent, t.seen_device,
        t.retries, t.proof_required, t.revoked_at, t.revoke_reason, t.retired_generations, t.retired_times
    INTO s_sid, s_user_id, s_channel, s_kid, s_created_at, s_auth_time, s_amr, s_generation, s_delivery,
        s_confirmed_generation, s_presented_generation, s_rotated_at, s_last_seen_at, s_last_passive_at,
        s_max_access_exp, s_idle_expires_at, s_absolute_expires_at, s_bound_address, s_bound_network,
        s_bound_user_agent, s_bound_device, s_seen_address, s_seen_network, s_seen_user_agent, s_seen_device,
        s_retries, s_proof_required, s_revoked_at, s_revoke_reason, h_generations, h_times
    FROM sessions t WHERE t.sid = p_sid FOR UPDATE;
    at := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    applied := (
        p_apply
        AND s_revoked_at IS NULL
        AND at < s_idle_expires_at AND at < s_absolute_expires_at
        AND u_active
        AND s_channel = p_channel
        AND s_generation = p_presented
        AND s_delivery = 1
        AND s_retries = '[]'
        AND NOT s_proof_required
        AND (NOT p_device_enforced OR s_bound_device = p_device)
        AND (NOT p_ip_enforced OR s_bound_network = p_network)
        AND (p_reauth_after IS NULL OR at < s_auth_time + p_reauth_after)
    ) IS TRUE;
    IF NOT applied THEN
        stolen := EXISTS (
            SELECT FROM sessions t
            WHERE t.user_id = s_user_id AND t.revoke_reason = 'reuse' AND t.revoked_at > at - p_theft_memory
            AND t.sid <> p_sid
        );
        RETURN;
    END IF;
    IF s_last_passive_at > s_rotated_at AND s_last_seen_at <= s_rotated_at THEN
        w_last_seen_at := s_last_seen_at;
        w_idle_expires_at := s_idle_expires_at;
    ELSE
        w_last_seen_at := greatest(s_last_seen_at, at);
        w_idle_expires_at := least(at + p_idle_ttl, s_absolute_expires_at);
    END IF;
    w_max_access_exp := greatest(s_max_access_exp, least(at + p_access_ttl, s_absolute_expires_at));
    SELECT array_agg(h.generation ORDER BY h.n), array_agg(h.retired_at ORDER BY h.n)
    INTO h_generations, h_times
    FROM unnest(h_generations, h_times) WITH ORDINALITY AS h (generation, retired_at, n)
    WHERE h.generation <> p_presented AND h.retired_at >= at - p_keep_for - p_margin;
    h_generations := h_generations || p_presented;
    h_times := h_times || at;
    IF cardinality(h_times) > p_history_limit THEN
        h_generations := h_generations[cardinality(h_generations) - p_history_limit + 1:];
        h_times := h_times[cardinality(h_times) - p_history_limit + 1:];
    END IF;
    UPDATE sessions SET
        generation = p_presented + 1,
        confirmed_generation = p_presented,
        presented_generation = p_presented,
        rotated_at = at,
        last_seen_at = w_last_seen_at,
        idle_expires_at = w_idle_expires_at,
        max_access_exp = w_max_access_exp,
        seen_address = p_address,
        seen_network = p_network,
        seen_user_agent = p_user_agent,
        seen_device = p_device,
        retired_generations = h_generations,
        retired_times = h_times,
        look_at = least(look_at, w_idle_expires_at)
    WHERE sid = p_sid;
    h_generations := NULL;
    h_times := NULL;
END
$$;
