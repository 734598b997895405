-- What could the role of this session do beyond reading statistics?
SELECT current_user::text AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       pg_has_role(current_user, 'pg_monitor', 'USAGE') AS sees_all,
       pg_has_role(current_user, 'pg_write_all_data', 'USAGE') AS writes_all,
       (SELECT count(*) FROM pg_class
        WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND relkind IN ('r', 'p')) AS owns
