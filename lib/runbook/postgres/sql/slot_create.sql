-- Which slot was made, that keeps WAL for a standby from now on? (It fails where there is one of its name.)
SELECT slot_name::text AS slot, lsn::text AS holds_from
FROM pg_create_physical_replication_slot(%(slot)s, true)
