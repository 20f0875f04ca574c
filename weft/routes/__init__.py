"""Gateway API routes → the rules that Envoy follows. Pure.

kinds.gateway ──translate──► RouteSpec ──bind──► BoundRoute ──book──► RouteTable per Service port and scope
                                           ▲                   └────► RouteOutcome (what status says)
                                services, grants
"""
