-- What of the cluster decides whether a backup can be restored into it?
SELECT current_setting('server_version_num')::integer AS version_num,
       ARRAY(SELECT rolname::text FROM pg_roles) AS roles,
       ARRAY(SELECT datname::text FROM pg_database) AS databases,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS data
