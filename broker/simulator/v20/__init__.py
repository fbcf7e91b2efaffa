"""JSON of the simulated venue: order requests and payloads in the shapes of v20."""
