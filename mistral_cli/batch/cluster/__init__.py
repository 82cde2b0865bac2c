"""`batch --ray`: the rows of a batch, answered by actors on the nodes of a Ray cluster."""
