-- How large is the whole cluster, of which version, and may this role copy it?
SELECT (SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint AS bytes,
       current_setting('server_version_num')::integer / 10000 AS version,
       current_setting('max_wal_senders')::integer AS senders,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) AS may_copy,
       current_user::text AS role,
       (SELECT setting FROM pg_settings WHERE name = 'data_checksums') AS checksums
