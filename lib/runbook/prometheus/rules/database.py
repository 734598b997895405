"""Rules on PostgreSQL: whether it is there, its connection slots, its standbys, its backups."""

from runbook.prometheus.rules.rule import Rule, Terms, number

MINUTE, HOUR = 60, 3600

# Written by the job that makes the backup, into a file that the hosts' exporter reads (its textfile collector).
BACKUP_METRIC = "shrimp_backup_last_success_timestamp_seconds"
BACKUP_ALERT = "BackupTooOld"
HOW_TO_TELL = (
    "end the backup job, where it has succeeded, with these two lines, DIR being node_exporter's "
    f"--collector.textfile.directory: `echo {BACKUP_METRIC} $(date +%s) > DIR/backup.prom.new`; "
    "`mv DIR/backup.prom.new DIR/backup.prom`; then say `backups = true` in [prometheus] of the profile"
)
_BYTES_BEHIND = "pg_stat_replication_pg_wal_lsn_diff"


def rules(t: Terms) -> list[Rule]:
    """Return the rules on the database, the runbook's own first."""
    return [_connection_failure(t), _not_measured(t), _slots(t), _lag(t), _bytes_behind(t), _backup(t)]


def _connection_failure(t: Terms) -> Rule:
    pg_up, up = t.postgres("pg_up"), t.postgres("up")
    return Rule(
        name="DatabaseConnectionFailure",
        expr=f"{pg_up} == 0 or {up} == 0 or absent({up})",
        wait=t.seconds(MINUTE),
        severity="critical",
        summary="PostgreSQL, or its exporter, cannot be reached{{ with $labels.instance }}: {{ . }}{{ end }}",
        description=(
            "{{ if $labels.instance }}The exporter {{ $labels.instance }} does not answer, or cannot connect to "
            f"PostgreSQL{{{{ else }}}}Prometheus has no target of the job {t.jobs.postgres}: nobody watches the "
            "database{{ end }}."
        ),
        notebook="3-incident-response/database-issues",
        metrics=(up, pg_up),
        absent=True,
    )


def _not_measured(t: Terms) -> Rule:
    pg_up, up = t.postgres("pg_up"), t.postgres("up")
    return Rule(
        name="PostgresNotMeasured",
        expr=f"{up} == 1 unless on (job, instance) {pg_up}",
        wait=t.seconds(5 * MINUTE),
        severity="warning",
        summary="The exporter {{ $labels.instance }} answers, and does not tell whether PostgreSQL is up",
        description=(
            "Without pg_up a database that is down raises no alarm: see which program answers at "
            "{{ $labels.instance }}, and its log."
        ),
        notebook="3-incident-response/database-issues",
        metrics=(up,),
    )


def _slots(t: Terms) -> Rule:
    percent = t.limit("slots_percent")
    used = t.postgres("pg_stat_database_numbackends")
    there, reserved = (
        t.postgres("pg_settings_max_connections"),
        t.postgres("pg_settings_superuser_reserved_connections"),
    )
    # One exporter of many servers tells which one by the label `server`, in both. Newer ones leave it out of what is
    # told of databases, though not of settings: then the one server of the instance is meant.
    instance, server = "job, instance", "job, instance, server"
    of_server = f"sum by ({server}) ({used}) / on ({server}) ({there} - {reserved})"
    of_instance = f"sum by ({instance}) ({used}) / on ({instance}) min by ({instance}) ({there} - {reserved})"
    return Rule(
        name="ConnectionSlotsNearlyUsedUp",
        expr=f"100 * (\n  {of_server}\n  or on ({instance}) {of_instance}\n) > {number(percent)}",
        wait=t.seconds(5 * MINUTE),
        severity="warning",
        summary='{{ $value | printf "%.0f" }}% of PostgreSQL\'s connection slots are used',
        description=(
            f'{{{{ $value | printf "%.0f" }}}}% of the slots that are not reserved are used (limit {percent:g}%); '
            "at 100% every new connection is refused."
        ),
        notebook="7-troubleshooting/connection-exhaustion",
        metrics=(used, there, reserved),
    )


def _lag(t: Terms) -> Rule:
    seconds = t.limit("lag_seconds")
    # The exporter's releases name it otherwise; on a primary it is 0.
    lag = '{__name__=~"pg_replication_lag|pg_replication_lag_seconds",' + f'job="{t.jobs.postgres}"}}'
    behind = t.postgres(_BYTES_BEHIND)
    return Rule(
        name="ReplicationLag",
        # The time since the last transaction grows on an idle primary too: it counts while the primary sees a standby
        # behind, or sees none at all (the receiver is gone).
        expr=f"{lag} > {number(seconds)}\nand on () (max({behind}) > 0 or absent({behind}))",
        wait=t.seconds(2 * MINUTE),
        severity="warning",
        summary="The standby {{ $labels.instance }} is {{ $value | humanizeDuration }} behind",
        description=(
            f"What it shows is {{{{ $value | humanizeDuration }}}} old (limit {seconds:g} s), and the primary sees it "
            "behind, or no standby connected at all."
        ),
        notebook="4-scaling/read-replica",
        metrics=(lag,),
        part="standby",
    )


def _bytes_behind(t: Terms) -> Rule:
    mib, behind = t.limit("lag_mib"), t.postgres(_BYTES_BEHIND)
    return Rule(
        name="StandbyFarBehind",
        expr=f"{behind} > {number(mib * 1024 * 1024)}",
        wait=t.seconds(2 * MINUTE),
        severity="warning",
        summary="The standby {{ $labels.application_name }} is {{ $value | humanize1024 }}B of WAL behind",
        description=(
            "The primary has written {{ $value | humanize1024 }}B that the standby has not replayed "
            f"(limit {mib:g} MiB): readers see old data, and a failover would lose or wait for it."
        ),
        notebook="4-scaling/read-replica",
        metrics=(behind,),
        part="standby",
    )


def _backup(t: Terms) -> Rule:
    hours = t.limit("backup_hours")
    return Rule(
        name=BACKUP_ALERT,
        expr=f"time() - max({BACKUP_METRIC}) > {number(hours * HOUR)}\nor absent({BACKUP_METRIC})",
        wait=t.seconds(10 * MINUTE),
        severity="warning",
        summary=(
            "{{ if gt $value 1.0 }}The newest backup is {{ $value | humanizeDuration }} old{{ else }}"
            "Nothing reports a backup{{ end }}"
        ),
        description=(
            f"A backup is to be no older than {hours:g} h. {{{{ if gt $value 1.0 }}}}The newest that succeeded is "
            f"{{{{ $value | humanizeDuration }}}} old.{{{{ else }}}}No host tells {BACKUP_METRIC}: a backup of which "
            "nothing is known is none.{{ end }}"
        ),
        notebook="5-maintenance/verify-backups",
        metrics=(BACKUP_METRIC,),
        absent=True,
        part="backups",
    )
