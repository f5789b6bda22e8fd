"""The conformance suite for transports: what every one of them means, as scenarios that anybody can run on theirs."""

from eventseam.testing.conformance.run import PASSES, SCENARIOS, check, matrix
from eventseam.testing.conformance.scenario import Scenario
from eventseam.testing.conformance.scene import Scene
from eventseam.testing.conformance.stage import Fault, Stage, StageFactory

__all__ = ["PASSES", "SCENARIOS", "Fault", "Scenario", "Scene", "Stage", "StageFactory", "check", "matrix"]
