-- How many of the connection slots that an ordinary role may use are taken?
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       max_connections - reserved AS usable,
       max_connections,
       reserved
FROM (SELECT current_setting('max_connections')::int AS max_connections,
             current_setting('superuser_reserved_connections')::int
                 -- From 16 on there is a second reserve, for the role pg_use_reserved_connections.
                 + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved) AS settings
