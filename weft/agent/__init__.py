"""The composition root: everything is wired here, and nowhere else.

    Store ──changes──► Agent ──World──► Engine ──steps──► Datapath ──► kernel
      ▲                  │ ▲               │
      │ status           │ │ LocalEndpoint └─listeners─► NameBook, zone file of the DNS pod, rule history
      └── Pods ◄─────────┘ │
           (PodRuntime, probes, Deployments)              kernel ──events──► FlowStore ──► API ──► weft observe

A change of the store is in force in the kernel when ``Store.apply`` returns: one event loop, no queue in between.
Slow things (namespaces, processes) run beside it, one task for each pod.
"""
