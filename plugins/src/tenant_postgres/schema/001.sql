-- Version 1: keys and values, containers and objects. What is here has been released: a change is another file.
-- Names are bytes or text of the collation "C"; what must be exact over several hosts is done here, in one statement of
-- the client's each, under the lock of one row: that of the namespace, or that of the container.

CREATE TABLE roadstead.kv_namespace (
    namespace text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 0,
    keys bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

CREATE TABLE roadstead.kv_entry (
    namespace text COLLATE "C" NOT NULL,
    bucket text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    revision bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (namespace, bucket, key)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX kv_entry_by_revision ON roadstead.kv_entry (namespace, bucket, revision) INCLUDE (key);

-- 0: done; 1: another value than expected; 2: too many keys; 3: too many bytes. p_expected: a revision, 0 for no value,
-- -1 for any. The row of the namespace stays locked to the end of the transaction, so revisions are committed in order.
CREATE FUNCTION roadstead.kv_put(
    p_namespace text, p_bucket text, p_key bytea, p_value bytea,
    p_expected bigint, p_keys_max bigint, p_bytes_max bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_revision bigint; v_keys bigint; v_bytes bigint;
    v_old_revision bigint; v_old_bytes bigint; v_new_bytes bigint; v_outcome integer := 0;
BEGIN
    IF p_expected >= 0 THEN
        -- Most of those who come too late need not wait for the lock to hear so.
        SELECT e.revision INTO v_old_revision FROM roadstead.kv_entry e
            WHERE e.namespace = p_namespace AND e.bucket = p_bucket AND e.key = p_key;
        IF coalesce(v_old_revision, 0) <> p_expected THEN RETURN 1; END IF;
    END IF;
    SELECT n.revision, n.keys, n.bytes INTO v_revision, v_keys, v_bytes FROM roadstead.kv_namespace n
        WHERE n.namespace = p_namespace FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO roadstead.kv_namespace (namespace) VALUES (p_namespace) ON CONFLICT DO NOTHING;
        SELECT n.revision, n.keys, n.bytes INTO STRICT v_revision, v_keys, v_bytes FROM roadstead.kv_namespace n
            WHERE n.namespace = p_namespace FOR UPDATE;
    END IF;
    SELECT e.revision, octet_length(e.key) + octet_length(e.value) INTO v_old_revision, v_old_bytes
        FROM roadstead.kv_entry e
        WHERE e.namespace = p_namespace AND e.bucket = p_bucket AND e.key = p_key;
    v_old_bytes := coalesce(v_old_bytes, 0);
    v_new_bytes := octet_length(p_key) + octet_length(p_value);
    IF p_expected >= 0 AND coalesce(v_old_revision, 0) <> p_expected THEN
        v_outcome := 1;
    ELSIF v_old_revision IS NULL AND v_keys >= p_keys_max THEN
        v_outcome := 2;
    ELSIF v_new_bytes > v_old_bytes AND v_bytes - v_old_bytes + v_new_bytes > p_bytes_max THEN
        v_outcome := 3;
    END IF;
    IF v_outcome <> 0 THEN
        -- Nothing was changed, and nobody has to wait until that is on the disk.
        PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
        RETURN v_outcome;
    END IF;
    UPDATE roadstead.kv_namespace n
        SET revision = n.revision + 1,
            keys = n.keys + CASE WHEN v_old_revision IS NULL THEN 1 ELSE 0 END,
            bytes = n.bytes - v_old_bytes + v_new_bytes
        WHERE n.namespace = p_namespace;
    INSERT INTO roadstead.kv_entry AS e (namespace, bucket, key, revision, value)
        VALUES (p_namespace, p_bucket, p_key, v_revision + 1, p_value)
        ON CONFLICT (namespace, bucket, key) DO UPDATE SET revision = v_revision + 1, value = p_value;
    RETURN 0;
END $$;

CREATE FUNCTION roadstead.kv_delete(p_namespace text, p_bucket text, p_key bytea)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_bytes bigint;
BEGIN
    PERFORM 1 FROM roadstead.kv_entry e
        WHERE e.namespace = p_namespace AND e.bucket = p_bucket AND e.key = p_key;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM 1 FROM roadstead.kv_namespace n WHERE n.namespace = p_namespace FOR UPDATE;
    DELETE FROM roadstead.kv_entry e
        WHERE e.namespace = p_namespace AND e.bucket = p_bucket AND e.key = p_key
        RETURNING octet_length(e.key) + octet_length(e.value) INTO v_bytes;
    IF FOUND THEN
        UPDATE roadstead.kv_namespace n SET revision = n.revision + 1, keys = n.keys - 1, bytes = n.bytes - v_bytes
            WHERE n.namespace = p_namespace;
    END IF;
END $$;

CREATE TABLE roadstead.blob_namespace (
    namespace text COLLATE "C" PRIMARY KEY
);

CREATE TABLE roadstead.blob_container (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    bytes bigint NOT NULL DEFAULT 0,
    last_number bigint NOT NULL DEFAULT 0,
    UNIQUE (namespace, name)
) WITH (fillfactor = 10);

-- An object without a number is in the making, and is given up when its lease has ended.
CREATE TABLE roadstead.blob_object (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    container bigint NOT NULL REFERENCES roadstead.blob_container (id),
    name bytea NOT NULL,
    number bigint,
    size bigint NOT NULL DEFAULT 0,
    counted bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX blob_object_by_name ON roadstead.blob_object (container, name) WHERE number IS NOT NULL;
CREATE UNIQUE INDEX blob_object_by_number ON roadstead.blob_object (container, number) INCLUDE (name)
    WHERE number IS NOT NULL;
CREATE INDEX blob_object_in_the_making ON roadstead.blob_object (container, id) WHERE number IS NULL;

-- All pieces of an object but the last have the same size.
CREATE TABLE roadstead.blob_chunk (
    object bigint NOT NULL,
    position bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (object, position)
);
ALTER TABLE roadstead.blob_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

-- Objects that are no more, whose pieces are still to be removed.
CREATE TABLE roadstead.blob_garbage (
    object bigint PRIMARY KEY
);

-- 0: made; 1: it is there; 2: too many.
CREATE FUNCTION roadstead.blob_create(p_namespace text, p_name text, p_containers_max bigint)
RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO roadstead.blob_namespace (namespace) VALUES (p_namespace) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM roadstead.blob_namespace n WHERE n.namespace = p_namespace FOR UPDATE;
    PERFORM 1 FROM roadstead.blob_container c WHERE c.namespace = p_namespace AND c.name = p_name;
    IF FOUND THEN RETURN 1; END IF;
    IF (SELECT count(*) FROM roadstead.blob_container c WHERE c.namespace = p_namespace) >= p_containers_max THEN
        RETURN 2;
    END IF;
    INSERT INTO roadstead.blob_container (namespace, name) VALUES (p_namespace, p_name);
    RETURN 0;
END $$;

-- Whether it was there.
CREATE FUNCTION roadstead.blob_delete_container(p_namespace text, p_name text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint;
BEGIN
    SELECT c.id INTO v_container FROM roadstead.blob_container c
        WHERE c.namespace = p_namespace AND c.name = p_name FOR UPDATE;
    IF NOT FOUND THEN RETURN false; END IF;
    INSERT INTO roadstead.blob_garbage (object)
        SELECT o.id FROM roadstead.blob_object o WHERE o.container = v_container;
    DELETE FROM roadstead.blob_object o WHERE o.container = v_container;
    DELETE FROM roadstead.blob_container c WHERE c.id = v_container;
    RETURN true;
END $$;

-- Begins an object. The outcome is its number, -1 where there is no container, -2 where that has no room.
CREATE FUNCTION roadstead.blob_begin(
    p_namespace text, p_container text, p_name bytea, p_overhead bigint, p_bytes_max bigint, p_lease_ms bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint; v_object bigint;
BEGIN
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    UPDATE roadstead.blob_container c SET bytes = c.bytes + p_overhead
        WHERE c.namespace = p_namespace AND c.name = p_container AND c.bytes + p_overhead <= p_bytes_max
        RETURNING c.id INTO v_container;
    IF NOT FOUND THEN
        PERFORM 1 FROM roadstead.blob_container c WHERE c.namespace = p_namespace AND c.name = p_container;
        RETURN CASE WHEN FOUND THEN -2 ELSE -1 END;
    END IF;
    INSERT INTO roadstead.blob_object (container, name, counted, lease_until)
        VALUES (v_container, p_name, p_overhead, now() + p_lease_ms * interval '1 millisecond')
        RETURNING id INTO v_object;
    RETURN v_object;
END $$;

-- 0: done; 1: the object or its container is no more; 2: no room. What is appended need not be on the disk before the
-- object is finished, and is there when that is.
CREATE FUNCTION roadstead.blob_append(
    p_object bigint, p_position bigint, p_data bytea, p_bytes_max bigint, p_lease_ms bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint; v_bytes bigint := octet_length(p_data);
BEGIN
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    SELECT o.container INTO v_container FROM roadstead.blob_object o WHERE o.id = p_object AND o.number IS NULL;
    IF NOT FOUND THEN RETURN 1; END IF;
    UPDATE roadstead.blob_container c SET bytes = c.bytes + v_bytes
        WHERE c.id = v_container AND c.bytes + v_bytes <= p_bytes_max;
    IF NOT FOUND THEN
        PERFORM 1 FROM roadstead.blob_container c WHERE c.id = v_container;
        RETURN CASE WHEN FOUND THEN 2 ELSE 1 END;
    END IF;
    UPDATE roadstead.blob_object o
        SET size = o.size + v_bytes, counted = o.counted + v_bytes,
            lease_until = now() + p_lease_ms * interval '1 millisecond'
        WHERE o.id = p_object AND o.number IS NULL;
    IF NOT FOUND THEN
        UPDATE roadstead.blob_container c SET bytes = c.bytes - v_bytes WHERE c.id = v_container;
        RETURN 1;
    END IF;
    INSERT INTO roadstead.blob_chunk (object, position, data) VALUES (p_object, p_position, p_data);
    RETURN 0;
END $$;

-- Takes one object, if it is there, off a container that the caller has locked.
CREATE FUNCTION roadstead.blob_take_off(p_container bigint, p_object bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_counted bigint;
BEGIN
    DELETE FROM roadstead.blob_object o WHERE o.id = p_object AND o.container = p_container
        RETURNING o.counted INTO v_counted;
    IF NOT FOUND THEN RETURN; END IF;
    INSERT INTO roadstead.blob_garbage (object) VALUES (p_object);
    UPDATE roadstead.blob_container c SET bytes = c.bytes - v_counted WHERE c.id = p_container;
END $$;

-- Puts a finished object in the place of the one that is there. 0: done; 1: it or its container is no more; 2: done, and
-- one that was there is no more.
CREATE FUNCTION roadstead.blob_finish(p_object bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint; v_number bigint; v_name bytea; v_old bigint;
BEGIN
    SELECT o.container, o.name INTO v_container, v_name FROM roadstead.blob_object o
        WHERE o.id = p_object AND o.number IS NULL;
    IF NOT FOUND THEN RETURN 1; END IF;
    SELECT c.last_number + 1 INTO v_number FROM roadstead.blob_container c WHERE c.id = v_container FOR UPDATE;
    IF NOT FOUND THEN RETURN 1; END IF;
    PERFORM 1 FROM roadstead.blob_object o WHERE o.id = p_object AND o.number IS NULL;
    IF NOT FOUND THEN RETURN 1; END IF;
    SELECT o.id INTO v_old FROM roadstead.blob_object o
        WHERE o.container = v_container AND o.name = v_name AND o.number IS NOT NULL;
    IF v_old IS NOT NULL THEN PERFORM roadstead.blob_take_off(v_container, v_old); END IF;
    UPDATE roadstead.blob_object o SET number = v_number, created_at = now() WHERE o.id = p_object;
    UPDATE roadstead.blob_container c SET last_number = v_number WHERE c.id = v_container;
    RETURN CASE WHEN v_old IS NULL THEN 0 ELSE 2 END;
END $$;

-- Gives an object in the making up; with p_expired only one whose lease has ended.
CREATE FUNCTION roadstead.blob_abort(p_object bigint, p_expired boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint;
BEGIN
    SELECT o.container INTO v_container FROM roadstead.blob_object o WHERE o.id = p_object AND o.number IS NULL;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM 1 FROM roadstead.blob_container c WHERE c.id = v_container FOR UPDATE;
    PERFORM 1 FROM roadstead.blob_object o
        WHERE o.id = p_object AND o.number IS NULL AND (NOT p_expired OR o.lease_until < now());
    IF FOUND THEN PERFORM roadstead.blob_take_off(v_container, p_object); END IF;
END $$;

-- Whether the container was there.
CREATE FUNCTION roadstead.blob_remove(p_namespace text, p_container text, p_name bytea)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint; v_object bigint;
BEGIN
    SELECT c.id INTO v_container FROM roadstead.blob_container c
        WHERE c.namespace = p_namespace AND c.name = p_container FOR UPDATE;
    IF NOT FOUND THEN RETURN false; END IF;
    SELECT o.id INTO v_object FROM roadstead.blob_object o
        WHERE o.container = v_container AND o.name = p_name AND o.number IS NOT NULL;
    IF FOUND THEN PERFORM roadstead.blob_take_off(v_container, v_object); END IF;
    RETURN true;
END $$;

-- Removes all objects but those in the making. Whether the container was there.
CREATE FUNCTION roadstead.blob_clear(p_namespace text, p_container text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_container bigint;
BEGIN
    SELECT c.id INTO v_container FROM roadstead.blob_container c
        WHERE c.namespace = p_namespace AND c.name = p_container FOR UPDATE;
    IF NOT FOUND THEN RETURN false; END IF;
    INSERT INTO roadstead.blob_garbage (object)
        SELECT o.id FROM roadstead.blob_object o WHERE o.container = v_container AND o.number IS NOT NULL;
    DELETE FROM roadstead.blob_object o WHERE o.container = v_container AND o.number IS NOT NULL;
    UPDATE roadstead.blob_container c
        SET bytes = (SELECT coalesce(sum(o.counted), 0) FROM roadstead.blob_object o WHERE o.container = v_container)
        WHERE c.id = v_container;
    RETURN true;
END $$;

-- Removes so many pieces of one object that is no more; whether there was one.
CREATE FUNCTION roadstead.blob_sweep(p_chunks bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_object bigint; v_removed bigint;
BEGIN
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    SELECT g.object INTO v_object FROM roadstead.blob_garbage g ORDER BY g.object LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN false; END IF;
    DELETE FROM roadstead.blob_chunk k
        WHERE k.object = v_object AND k.position IN (
            SELECT p.position FROM roadstead.blob_chunk p WHERE p.object = v_object ORDER BY p.position LIMIT p_chunks
        );
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    IF v_removed < p_chunks THEN DELETE FROM roadstead.blob_garbage g WHERE g.object = v_object; END IF;
    RETURN true;
END $$;

-- Gives up to so many objects up whose writers are gone; how many it found.
CREATE FUNCTION roadstead.blob_give_up_expired(p_objects bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_object bigint; v_found bigint := 0;
BEGIN
    FOR v_object IN
        SELECT o.id FROM roadstead.blob_object o
            WHERE o.number IS NULL AND o.lease_until < now() ORDER BY o.container, o.id LIMIT p_objects
    LOOP
        PERFORM roadstead.blob_abort(v_object, true);
        v_found := v_found + 1;
    END LOOP;
    RETURN v_found;
END $$;
