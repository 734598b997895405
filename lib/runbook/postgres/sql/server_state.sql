-- Which server is this: a primary or a standby, writable, since when, and does it wait for a restart?
-- A distribution's own name of its build is left out.
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('server_version_num')::int AS version_num,
       pg_is_in_recovery() AS in_recovery,
       read_only.setting = 'on' AS read_only,
       read_only.source AS read_only_by,
       pg_postmaster_start_time() AS started,
       pg_conf_load_time() AS reloaded,
       ARRAY(SELECT name FROM pg_settings WHERE pending_restart ORDER BY name) AS pending_restart
FROM pg_settings AS read_only
WHERE read_only.name = 'default_transaction_read_only'
