"""Rules on hosts, containers and certificates, and the one that always fires."""

from runbook.prometheus.rules.rule import Rule, Terms, number

MINUTE, HOUR, DAY = 60, 3600, 86_400

DEAD_MANS_SWITCH = "DeadMansSwitch"

# What is no disk of its own: in memory, an image, or seen a second time under another name.
_NO_DISK = 'fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660"'


def rules(t: Terms) -> list[Rule]:
    """Return the rules on machines, the runbook's own first."""
    return [_high_memory_usage(t), _disk_fills(t), _container_memory(t), _certificate(t), _dead_mans_switch(t)]


def _high_memory_usage(t: Terms) -> Rule:
    total, available = t.node("node_memory_MemTotal_bytes"), t.node("node_memory_MemAvailable_bytes")
    share = t.limit("memory_percent") / 100
    return Rule(
        name="HighMemoryUsage",
        expr=f"({total} - {available}) / {total} > {number(share)}",
        wait=t.seconds(5 * MINUTE),
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the memory of {{ $labels.instance }} is used",
        description=(
            "{{ $value | humanizePercentage }} of the memory is not available to a new program "
            f"(limit {100 * share:g}%); when it runs out, the kernel kills."
        ),
        notebook="7-troubleshooting/high-memory-usage",
        metrics=(total, available),
    )


def _disk_fills(t: Terms) -> Rule:
    free, size = t.node("node_filesystem_avail_bytes", _NO_DISK), t.node("node_filesystem_size_bytes", _NO_DISK)
    read_only = t.node("node_filesystem_readonly", _NO_DISK)
    used, window = t.limit("disk_used_percent"), t.window(6 * HOUR)
    return Rule(
        name="DiskFullWithinADay",
        expr=(
            f"predict_linear({free}[{window}], {DAY}) < 0\n"
            f"and 100 * (1 - {free} / {size}) > {number(used)}\n"
            f"and {read_only} == 0"
        ),
        wait=t.seconds(30 * MINUTE),
        severity="warning",
        summary="{{ $labels.mountpoint }} on {{ $labels.instance }} will be full within 24 h",
        description=(
            f"As it grew in the last {window}, {{{{ $labels.mountpoint }}}} ({{{{ $labels.device }}}}) is full within "
            f"24 h; more than {used:g}% of it is used already. PostgreSQL stops on a full disk."
        ),
        notebook="1-daily-operations/morning-health-check",
        metrics=(free, size),
    )


def _container_memory(t: Terms) -> Rule:
    # What has an image is a container; the groups above it have none.
    used, limit = 'container_memory_working_set_bytes{image!=""}', 'container_spec_memory_limit_bytes{image!=""}'
    share = t.limit("container_percent") / 100
    return Rule(
        name="ContainerMemoryNearLimit",
        expr=f"{used} / ({limit} > 0) > {number(share)}",  # a limit of 0 is none
        wait=t.seconds(5 * MINUTE),
        severity="warning",
        summary=(
            "{{ with $labels.name }}{{ . }}{{ else }}{{ $labels.namespace }}/{{ $labels.pod }} {{ $labels.container }}"
            "{{ end }} uses {{ $value | humanizePercentage }} of its memory limit"
        ),
        description=(
            "{{ $value | humanizePercentage }} of the container's memory limit is in use, caches that can be given "
            f"back left out (limit {100 * share:g}%); at 100% the kernel kills it."
        ),
        notebook="4-scaling/vertical-scaling",
        metrics=(used, limit),
        part="containers",
    )


def _certificate(t: Terms) -> Rule:
    ends, days = "probe_ssl_earliest_cert_expiry", t.limit("certificate_days")
    return Rule(
        name="CertificateExpiresSoon",
        expr=f"({ends} - time()) / {DAY} < {number(days)}",
        wait=t.seconds(HOUR),
        severity="warning",
        summary='The certificate of {{ $labels.instance }} ends in {{ $value | printf "%.1f" }} days',
        description=(
            f'A certificate that is served ends in {{{{ $value | printf "%.1f" }}}} days (limit {days:g}; below 0 it '
            "has ended): its renewal has failed, or was not loaded."
        ),
        notebook="6-security/certificate-management",
        metrics=(ends,),
        part="tls",
    )


def _dead_mans_switch(t: Terms) -> Rule:
    return Rule(
        name=DEAD_MANS_SWITCH,
        expr="vector(1)",
        wait=0,
        severity="none",
        summary="Alerts arrive",
        description=(
            "It always fires. Whoever receives it raises the alarm when it stops: then Prometheus, or the way from it, "
            "is down."
        ),
        notebook="2-monitoring/alert-rules",
        metrics=(),
    )
