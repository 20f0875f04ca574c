"""The only way to the kernel: load, attach, pin, write maps, make pods' networks, read events.

    paths = NodePaths.default(name)                      node.py      where a node lives
    datapath = Datapath.open(paths, Options())           kernel.py    programs on the pinned maps; nothing changes yet
    set_up(paths, config, uplink_mtu())                  node.py      weft_host (down), settings, masquerade
    kernel = datapath.read()                             codec.py     what an earlier agent left
    bumped = datapath.apply(kernel, steps)               capacity.py  the plan; refused whole if it does not fit
    datapath.enforce()                                                these programs in force at every hook
    bring_up(config)                                     node.py      weft_host up, routes
    pods = PodDevices(datapath, mtu)                     pod.py       create, up, find, delete
    if bumped: sweep(datapath)                           sweep.py     cut what is no longer allowed, idle or not
    ask · counters · flows · map_usage · EventReader     query.py, stats.py, events.py
    probe()                                              features.py  what the kernel can do

Errors are DatapathError: object, cause, remedy. Everything is safe to repeat after a death at any point.
"""
