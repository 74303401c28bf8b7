"""How results are made and kept: files, the store, training, jobs, assets. Nothing here knows what a CGN is."""
