"""Where the time of consuming from Kafka goes, or of the relay to it: `python -m bench.kafka.profile [relay]`.

Shares of the loop's thread under cProfile, from the first batch on: what the client's and our own other threads do is
not in them, and waiting for these is. The profiler slows Python functions more than a driver's, so the shares of our
own code are upper bounds. `--lines N` names the functions that take most: themselves, then with what they call.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats

from bench.kafka.consume import consume_by_app
from bench.kafka.relay import relay_by_app
from bench.kafka.topics import topics
from bench.postgres.databases import databases
from bench.profile import COUNT, show_shares


def main() -> None:
    """Drain a topic, or a journal, under the profiler and print the shares, the largest first."""
    options = _options()
    profile, count = cProfile.Profile(), options.messages
    with databases() as server, topics() as broker:
        if options.what == "relay":
            url, prefix = server.fresh(server.filled(count, None)), broker.empty()
            found = asyncio.run(relay_by_app(url, broker, prefix, count, begun=profile.enable))
        else:
            url, prefix = server.fresh(server.filled(0, None)), broker.filled(count, options.keys)
            found = asyncio.run(consume_by_app(url, broker, prefix, count, begun=profile.enable))
        profile.disable()
    stats = pstats.Stats(profile)
    print(
        f"{found.value:.1f} us per message, {found.cpu_us:.1f} us of the processor in all threads; of the loop's thread"
    )
    show_shares(stats, count)
    if options.lines:
        stats.sort_stats("tottime").print_stats(options.lines)
        stats.sort_stats("cumulative").print_stats(options.lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.kafka.profile", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["consume", "relay"], default="consume")
    parser.add_argument("--messages", type=int, default=COUNT)
    parser.add_argument("--keys", type=int, help="so many keys; without it every message has its own")
    parser.add_argument("--lines", type=int, default=0, help="name so many functions")
    return parser.parse_args()


if __name__ == "__main__":
    main()
