#!/usr/bin/env python3
"""One prefix at ten ASes over the whole AS graph, by BGPy: load time, propagation, memory.

Run by benches/peers/bgpy, which makes an environment for it. As in the bench `propagate`, each
named AS has the prefix from a customer, with a path of one number. BGPy keeps one best route an AS
and breaks ties by the lowest number; ours keeps all that are tied.
"""

import resource
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from bgpy.as_graphs import CAIDAASGraphConstructor
from bgpy.shared.enums import Relationships
from bgpy.simulation_engine import BGP, Announcement, SimulationEngine

RUNS = 3


def main() -> None:
    """Loads FILE and announces at each ASN of the command line."""
    path, neighbors = Path(sys.argv[1]), [int(asn) for asn in sys.argv[2:]]
    begun = time.perf_counter()
    constructor = CAIDAASGraphConstructor(tsv_path=None)
    graph = constructor._get_as_graph(constructor._get_as_graph_info(path))
    print(f"  load s {time.perf_counter() - begun:.1f}")
    engine = SimulationEngine(graph)
    announcements = tuple(
        Announcement(
            prefix="192.0.2.0/24",
            as_path=(asn,),
            next_hop_asn=asn,
            seed_asn=asn,
            recv_relationship=Relationships.CUSTOMERS,
        )
        for asn in neighbors
    )
    scenario = SimpleNamespace(
        announcements=announcements,
        get_policy_cls=lambda _: BGP,
        pre_aggregation_hook=lambda *_, **__: None,
        post_propagation_hook=lambda *_, **__: None,
    )
    times = []
    for _ in range(RUNS):
        engine.setup(scenario)
        begun = time.perf_counter()
        engine.run(propagation_round=0, scenario=scenario)
        times.append(time.perf_counter() - begun)
    reached = sum(1 for it in graph if it.policy.local_rib.get("192.0.2.0/24") is not None)
    print(f"  {reached} ASes reached")
    print(f"  propagate s median {statistics.median(times):.2f} min {min(times):.2f} (n={RUNS})")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  largest resident set MB {megabytes:.0f}")
    print(f"figures {statistics.median(times):.6f}")


if __name__ == "__main__":
    main()
