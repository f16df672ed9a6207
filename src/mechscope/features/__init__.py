"""Build the feature store; look at features: overview, similarity, decoder, match with planted concepts."""
