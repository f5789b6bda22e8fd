"""The same shop as a synchronous chain: six HTTP services on this machine, each waiting for the next one's answer."""
