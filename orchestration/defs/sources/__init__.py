"""Other systems that deliveries are pulled from: one asset and one schedule per source of the region pack."""
