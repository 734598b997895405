-- How many checkpoints came by the clock, and how many because something asked for them? (From PostgreSQL 17 on.)
SELECT num_timed AS timed,
       num_requested AS requested,
       write_time / 1000 AS write_seconds,
       sync_time / 1000 AS sync_seconds,
       buffers_written AS buffers,
       stats_reset,
       extract(epoch FROM clock_timestamp() - stats_reset)::float8 AS seconds,
       current_setting('max_wal_size') AS max_wal_size,
       current_setting('checkpoint_timeout') AS checkpoint_timeout
FROM pg_stat_checkpointer
