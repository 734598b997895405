-- Where is it written down what was saved, table by table, and which rows are not beyond doubt?
CREATE SCHEMA IF NOT EXISTS runbook_salvage;
CREATE TABLE IF NOT EXISTS runbook_salvage.tables (
    table_name text PRIMARY KEY, in_backup bigint NOT NULL, readable bigint NOT NULL, same bigint NOT NULL,
    changed bigint NOT NULL, added bigint NOT NULL, from_backup bigint NOT NULL, doubtful bigint NOT NULL,
    refused bigint NOT NULL, pages bigint NOT NULL, lines bigint NOT NULL, why text NOT NULL);
CREATE TABLE IF NOT EXISTS runbook_salvage.rows (
    table_name text NOT NULL, what text NOT NULL CHECK (what IN ('from backup', 'doubtful', 'refused')), content text NOT NULL);
CREATE TABLE IF NOT EXISTS runbook_salvage.finished (at timestamptz NOT NULL);
