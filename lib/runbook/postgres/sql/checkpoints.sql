-- How many checkpoints came by the clock, and how many because something asked for them? (Up to PostgreSQL 16.)
-- From 17 on the figures stand in a view of their own (checkpoints_17.sql), and here they are null.
SELECT (told->>'checkpoints_timed')::bigint AS timed,
       (told->>'checkpoints_req')::bigint AS requested,
       (told->>'checkpoint_write_time')::float8 / 1000 AS write_seconds,
       (told->>'checkpoint_sync_time')::float8 / 1000 AS sync_seconds,
       (told->>'buffers_checkpoint')::bigint AS buffers,
       bgwriter.stats_reset,
       extract(epoch FROM clock_timestamp() - bgwriter.stats_reset)::float8 AS seconds,
       current_setting('max_wal_size') AS max_wal_size,
       current_setting('checkpoint_timeout') AS checkpoint_timeout
FROM pg_stat_bgwriter AS bgwriter, to_jsonb(bgwriter) AS told
