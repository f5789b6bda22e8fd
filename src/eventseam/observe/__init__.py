"""What others see of the engine: logs now; each implements ports.probe once, for all transports."""
