"""HTTP of the simulated venue: endpoints, admission, streams, fault control."""
