"""doit's side: the tasks of a graph, and the state that is saved as each of them ends."""
