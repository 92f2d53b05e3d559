"""
Sessions whose keys are in different slots of a Cluster: a script sees one of them only.

Each function is a generator of steps, as `steps` describes them. The order of the steps keeps
this invariant: before a client receives the key of a session, the session is listed, under the
right user. A failure between two steps may leave a member of an index without a session, which
readers skip, or a session whose key no client received.
"""
