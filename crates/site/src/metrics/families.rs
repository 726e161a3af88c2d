//! What is measured. docs/metrics.md is held to this table.

/// A kind of value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Only grows, until the daemon starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times, counted by how long they were.
    Histogram,
}

/// Values of one meaning.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// What it is, in one sentence.
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order in which they are told.
        pub(super) const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD: Gauge "anycast_build_info" ["version"]
        "The version that runs; always 1.";
    SITE: Gauge "anycast_site_info" ["fleet", "site", "city", "asn"]
        "Which site this is; always 1.";
    RUNNING: Gauge "anycast_site_running" []
        "1 while the site runs, 0 while it starts or stops.";
    UPTIME: Gauge "anycast_uptime_seconds" []
        "Seconds since the daemon's start.";

    SERVICE_UP: Gauge "anycast_service_up" ["service"]
        "1 while the service counts as healthy.";
    SERVICE_SINCE: Gauge "anycast_service_state_seconds" ["service"]
        "Seconds since the service last went up or down.";
    SERVICE_PENALTY: Gauge "anycast_service_damping_penalty" ["service"]
        "The service's penalty for falling; a fall costs 1000.";
    SERVICE_DAMPED: Gauge "anycast_service_damped_seconds" ["service"]
        "For how long yet the service is kept down although its checks pass; 0 if it is not.";
    CHECK_UP: Gauge "anycast_check_up" ["service", "check"]
        "1 while the check's verdict is up.";
    CHECK_RUNS: Counter "anycast_check_runs_total" ["service", "check", "result"]
        "Runs of the check that ended in `pass` or in `fail`.";
    CHECK_TIME: Histogram "anycast_check_duration_seconds" ["service", "check"]
        "How long runs of the check took, whatever they found.";

    PREFIX_ANNOUNCED: Gauge "anycast_prefix_announced" ["prefix"]
        "1 while the site announces the prefix.";
    PREFIX_SINCE: Gauge "anycast_prefix_state_seconds" ["prefix"]
        "Seconds since the prefix was last announced or withdrawn.";
    PREFIX_HELD: Gauge "anycast_prefix_held" ["prefix"]
        "1 while the prefix is announced only because the fleet would fall below its floor.";
    PREFIX_REASON: Gauge "anycast_prefix_reason" ["prefix", "reason"]
        "1 for each reason that keeps the prefix from being announced plainly to all: `services`, `degraded`, `damping`, `drain`, `shed`, `floor`, `stopping`, `removed`.";
    PREFIX_SHED: Gauge "anycast_prefix_shed_level" ["prefix"]
        "Steps that were taken to shed load.";
    PREFIX_PENALTY: Gauge "anycast_prefix_damping_penalty" ["prefix"]
        "The prefix's penalty for being withdrawn; a withdrawal costs 1000.";
    PREFIX_DAMPED: Gauge "anycast_prefix_damped_seconds" ["prefix"]
        "For how long yet the prefix is kept withdrawn although its services are up; 0 if it is not.";
    PREFIX_TOLD: Gauge "anycast_prefix_advertised" ["prefix", "neighbor"]
        "1 while the neighbor has been told of the prefix.";
    PREFIX_LENGTH: Gauge "anycast_prefix_advertised_path_length" ["prefix", "neighbor"]
        "The length of the AS path that the neighbor was told, our prepends included.";

    DRAINS: Gauge "anycast_drains" []
        "Drains that operators have begun and not ended.";
    DRAIN_DONE: Gauge "anycast_drain_complete" ["target"]
        "1 once what is drained is withdrawn.";
    DRAIN_LEFT: Gauge "anycast_drain_remaining_seconds" ["target"]
        "Seconds until the drain ends by itself, if it does.";
    AFFINITY_LOADED: Gauge "anycast_affinity_loaded" []
        "1 while the packet programs that keep connections run; absent if the fleet file asks for none.";
    AFFINITY_PACKETS: Counter "anycast_affinity_packets_total" ["what"]
        "Packets for kept services by what became of them: `anycast show affinity` names the same.";
    AFFINITY_FORWARDED: Counter "anycast_affinity_forwarded_total" ["site", "by"]
        "Packets passed on to the site: by `hint`, what they carry of their owner, or by `ring`, one site after the other.";
    AFFINITY_UNWRAPPED: Counter "anycast_affinity_unwrapped_total" ["site"]
        "Packets of our connections that the site passed on to us.";
    AFFINITY_LIMITED: Counter "anycast_affinity_limited_total" ["site"]
        "Packets that were not passed on to the site, because they were too many.";
    AFFINITY_REJECTED: Counter "anycast_affinity_rejected_total" ["reason"]
        "Frames that claimed to come from another site and were not unwrapped.";
    FLEET_REACHED: Gauge "anycast_fleet_reached" []
        "1 while the fleet's shared state can be read and written; absent if the file names none.";
    FLEET_HEARD: Gauge "anycast_fleet_heard_seconds" []
        "Seconds since the fleet's shared state was last heard of; absent before.";

    NEIGHBOR_UP: Gauge "anycast_bgp_neighbor_up" ["neighbor", "address", "asn"]
        "1 while the session is Established.";
    NEIGHBOR_STATE: Gauge "anycast_bgp_neighbor_state" ["neighbor", "state"]
        "1 for the state in which the session is, 0 for each other state of RFC 4271.";
    NEIGHBOR_ENABLED: Gauge "anycast_bgp_neighbor_enabled" ["neighbor"]
        "0 while an operator has disabled the neighbor.";
    NEIGHBOR_SINCE: Gauge "anycast_bgp_neighbor_state_seconds" ["neighbor"]
        "Seconds since the session last went up or down.";
    NEIGHBOR_HOLD: Gauge "anycast_bgp_neighbor_hold_time_seconds" ["neighbor"]
        "The hold time in force, while the session is Established.";
    NEIGHBOR_RECEIVED: Gauge "anycast_bgp_neighbor_prefixes_received" ["neighbor"]
        "Prefixes that the neighbor told us.";
    NEIGHBOR_ACCEPTED: Gauge "anycast_bgp_neighbor_prefixes_accepted" ["neighbor"]
        "Those of them that import policy took.";
    NEIGHBOR_ADVERTISED: Gauge "anycast_bgp_neighbor_prefixes_advertised" ["neighbor"]
        "Prefixes that we told the neighbor.";
    NEIGHBOR_STALE: Gauge "anycast_bgp_neighbor_prefixes_stale" ["neighbor"]
        "Prefixes by which the neighbor does not stand at the moment: it restarts.";
    NEIGHBOR_LIMIT: Gauge "anycast_bgp_neighbor_prefixes_limit" ["neighbor"]
        "Prefixes beyond which the session ends, if there is a limit.";
    NEIGHBOR_MESSAGES: Counter "anycast_bgp_neighbor_messages_total" ["neighbor", "direction"]
        "BGP messages, `in` and `out`.";
    NEIGHBOR_UPDATES: Counter "anycast_bgp_neighbor_updates_total" ["neighbor", "direction"]
        "UPDATE messages, `in` and `out`.";
    NEIGHBOR_NOTIFICATIONS: Counter "anycast_bgp_neighbor_notifications_total" ["neighbor", "direction"]
        "NOTIFICATION messages, `in` and `out`.";
    NEIGHBOR_ESTABLISHED: Counter "anycast_bgp_neighbor_established_total" ["neighbor"]
        "How often the session became Established.";
    NEIGHBOR_DROPPED: Counter "anycast_bgp_neighbor_dropped_total" ["neighbor"]
        "How often an Established session went down.";

    BFD_UP: Gauge "anycast_bfd_up" ["neighbor"]
        "1 while the BFD session with the neighbor is Up.";
    BFD_DETECTION: Gauge "anycast_bfd_detection_seconds" ["neighbor"]
        "The silence after which the neighbor counts as dead.";
    BFD_PACKETS: Counter "anycast_bfd_packets_total" ["neighbor", "direction"]
        "BFD packets, `in`, `out` and `dropped`.";
    BFD_DOWNS: Counter "anycast_bfd_downs_total" ["neighbor"]
        "How often the BFD session failed after it was Up.";

    RPKI_SOURCE_UP: Gauge "anycast_rpki_source_in_use" ["source"]
        "1 while VRPs of this cache or file count.";
    RPKI_SOURCE_AGE: Gauge "anycast_rpki_source_age_seconds" ["source"]
        "Seconds since the source's data were last known to be the newest.";
    RPKI_VRPS: Gauge "anycast_rpki_vrps" ["family"]
        "VRPs that count now; absent while there are none or they have expired.";
    RPKI_OWN: Gauge "anycast_rpki_own_prefix" ["prefix", "origin", "state"]
        "What the RPKI says of our prefix from the origin that others see; always 1.";

    BMP_UP: Gauge "anycast_bmp_up" ["station"]
        "1 while the monitoring station is connected and has been told all.";
    BMP_MESSAGES: Counter "anycast_bmp_messages_total" ["station"]
        "BMP messages written to the station.";
    BMP_OCTETS: Counter "anycast_bmp_sent_bytes_total" ["station"]
        "Octets written to the station.";
    BMP_QUEUE: Gauge "anycast_bmp_queue_bytes" ["station"]
        "Octets that wait for the station.";
    BMP_CUT_OFF: Counter "anycast_bmp_cut_off_total" ["station"]
        "How often the station was cut off because it read too slowly.";

    EVENTS: Counter "anycast_events_total" ["kind"]
        "Events of each kind since the daemon's start.";
    EVENTS_LAST: Gauge "anycast_events_last_number" []
        "The number of the newest event.";
    EVENTS_UNWRITTEN: Counter "anycast_events_unwritten_total" []
        "Events that could not be written to disk; absent if none are kept there.";

    CPU: Counter "process_cpu_seconds_total" []
        "User and system time of the daemon's process in seconds.";
    RESIDENT: Gauge "process_resident_memory_bytes" []
        "Memory of the process in octets.";
    VIRTUAL: Gauge "process_virtual_memory_bytes" []
        "Address space of the process in octets.";
    OPEN_FDS: Gauge "process_open_fds" []
        "Open file descriptors.";
    MAX_FDS: Gauge "process_max_fds" []
        "How many file descriptors may be open.";
    THREADS: Gauge "process_threads" []
        "Threads of the process.";
    START_TIME: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
}
