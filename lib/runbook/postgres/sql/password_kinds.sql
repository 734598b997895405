-- In which form is the password of each role kept? The passwords themselves stay where they are.
SELECT rolname::text AS role, rolcanlogin AS can_log_in,
       CASE WHEN rolpassword IS NULL THEN 'none'
            WHEN rolpassword LIKE 'SCRAM-SHA-256%' THEN 'scram-sha-256'
            WHEN rolpassword ~ '^md5[0-9a-f]{32}$' THEN 'md5'
            ELSE 'plain' END AS kind
FROM pg_authid
WHERE rolname NOT LIKE 'pg\_%'
ORDER BY rolname
