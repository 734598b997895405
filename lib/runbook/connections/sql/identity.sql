-- Which server, database and role is this, and what time does it think it is?
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_num,
       current_database() AS database,
       current_user::text AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       pg_is_in_recovery() AS in_recovery,
       -- Set for everybody; where the role alone is read-only, as the runbook's may be, that says nothing.
       (SELECT setting = 'on' AND source NOT IN ('user', 'database user', 'session', 'client') FROM pg_settings
        WHERE name = 'default_transaction_read_only') AS read_only,
       clock_timestamp() AS clock
