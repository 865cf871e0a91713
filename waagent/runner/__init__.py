"""The engine: finds the steps of a stage, orders them, runs them, and writes down what happened."""
