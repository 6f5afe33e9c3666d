"""Chaos among several servers: lines between their brokers are cut, messages repeated and mixed, and all be killed."""
